// Package synth makes data sets of the shape of the Vista paper's: a table with structured features and a
// 0/1 label, and one JPEG per record. They serve examples, tests and benchmarks where real data cannot be
// shipped.
//
// Invariant: a record depends on (Shape, Seed, its number) alone, so the same Config gives the same bytes on
// any number of cores and in any order, and a set with more records begins with the same ones. (Table and
// pixels use floating point and image/jpeg encodes them: another processor architecture or Go version may
// give other, equally good bytes.)
//
// It is called by `vista-mr synth` and by benchmarks. It knows nothing of jobs and writes local folders only.
//
// # The formula
//
// Every record has a structured score s and an image factor v, independent, each of mean 0 and variance 1:
//
//	y     = sqrt(0.50) s + sqrt(0.42) v + sqrt(0.08) noise
//	label = 1 if y > 0
//	v     = (0.85 warmth + 0.5 grain + 0.3 crowd) / 1.031
//
// So the best possible model reaches 75 % accuracy on the table alone, 91 % on both sides, and about half of
// the records are positive.
//
// foods: nine nutrition-like columns, log-normal around typical values (energy follows from fat, carbohydrates
// and protein), their 36 pair and 84 triple products, and a count of additives: 130 columns. s is a weighted sum
// of the logarithms, of one product of two of them and of the count.
//
// amazon: price, a 100-dimensional document vector and 99 category columns (every record is in one of 11 groups
// and has one to three of its group's 9 tags): 200 columns. s is a weighted sum of log price, 8 document
// dimensions and the groups' effects.
//
// warmth moves the picture's palette from blue-green to orange, grain scales its texture at 4 to 32 pixels, crowd
// is the number of things in it. Brightness, saturation, gradients, positions, shapes, fine texture and the
// colours of single things vary independently of the label. Pictures have 500x375 pixels or a little less or
// more, one in six stands upright; they are encoded at quality 85 as 4:2:0.
package synth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Config says which data set to make.
type Config struct {
	Shape   string // foods or amazon
	Records int    // 0: the paper's number, 20,000 or 200,000
	Seed    uint64
	Out     string // folder to write: table.csv and images/ID.jpg
	Broken  int    // how many images, spread evenly, are deliberately unreadable
}

// Summary says what a data set holds and what was done for it.
type Summary struct {
	Shape    string `json:"shape"`
	Records  int    `json:"records"`
	Features int    `json:"features"` // structured columns
	Positive int    `json:"positive"` // records with label 1
	Broken   int    `json:"broken"`
	Table    string `json:"table"`
	Images   string `json:"images"`
	Written  int    `json:"written"` // images written now; the rest were there from an interrupted run
	Bytes    int64  `json:"bytes"`   // of the images written now
}

// Error is a refusal that a user can act on.
type Error struct {
	ID, Msg, Next string
}

func (e *Error) Error() string { return e.Msg }

// ErrorID is the stable id under which users meet this error.
func (e *Error) ErrorID() string { return e.ID }

// Hint says what to do next.
func (e *Error) Hint() string { return e.Next }

// Limits of a Config.
const maxRecords = 100_000_000

// formula is the version of the generator; it changes whenever the bytes do.
const formula = 1

// markName is the file that identifies a data set, so that an interrupted one can be completed.
const markName = "synth.json"

// mark is its content.
type mark struct {
	Formula int    `json:"formula"`
	Shape   string `json:"shape"`
	Records int    `json:"records"`
	Seed    uint64 `json:"seed"`
	Broken  int    `json:"broken"`
}

// Generate writes the data set. Files appear under their names complete or not at all, table.csv last; when
// ctx ends, what is there can be completed by the same call. A folder that holds anything but this very data
// set is refused. progress, if not nil, is called with the number of finished images, by one goroutine
// at a time.
func Generate(ctx context.Context, c Config, progress func(done, total int)) (Summary, error) {
	s, err := shapeOf(c.Shape)
	if err != nil {
		return Summary{}, err
	}
	if c.Records == 0 {
		c.Records = s.records
	}
	if c.Records < 0 || c.Records > maxRecords {
		return Summary{}, &Error{"E-SYNTH-CONFIG", fmt.Sprintf("synth: %d records", c.Records), fmt.Sprintf("ask for 1 to %d records", maxRecords)}
	}
	if c.Broken < 0 || c.Broken > c.Records {
		return Summary{}, &Error{"E-SYNTH-CONFIG", fmt.Sprintf("synth: %d broken images among %d records", c.Broken, c.Records), "ask for fewer broken images than records"}
	}
	images := filepath.Join(c.Out, "images")
	sum := Summary{Shape: c.Shape, Records: c.Records, Features: len(s.columns), Broken: c.Broken,
		Table: filepath.Join(c.Out, "table.csv"), Images: images}
	if err := claim(c); err != nil {
		return Summary{}, err
	}
	if err := os.MkdirAll(images, 0o777); err != nil {
		return Summary{}, fmt.Errorf("synth: %w", err)
	}
	if err := dropTemporary(images); err != nil {
		return Summary{}, fmt.Errorf("synth: %w", err)
	}

	var mu sync.Mutex // guards next, done, sum
	next, done := 0, 0
	tex := newTextures(c.Seed)
	parent := ctx
	group, ctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0), c.Records) {
		group.Go(func() error {
			p := newPainter(tex)
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= c.Records {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				n, err := writeImage(images, i, c, s, p)
				if err != nil {
					return fmt.Errorf("synth: image %s: %w", recordID(i), err)
				}
				mu.Lock()
				if n > 0 {
					sum.Written++
					sum.Bytes += int64(n)
				}
				done++
				if progress != nil {
					progress(done, c.Records)
				}
				mu.Unlock()
			}
		})
	}
	if err := group.Wait(); err != nil {
		return Summary{}, err
	}
	sum.Positive, err = writeTable(parent, sum.Table, c, s)
	if err != nil {
		return Summary{}, err
	}
	return sum, nil
}

// recordID is the key of record i, and its image's file stem.
func recordID(i int) string { return fmt.Sprintf("r%07d", i) }

// claim makes sure that Out is empty or this data set's, and marks it.
func claim(c Config) error {
	want, err := json.Marshal(mark{formula, c.Shape, c.Records, c.Seed, c.Broken})
	if err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	want = append(want, '\n')
	if c.Out == "" {
		return &Error{"E-SYNTH-CONFIG", "synth: no output folder", "name a folder to write to"}
	}
	name := filepath.Join(c.Out, markName)
	got, err := os.ReadFile(name)
	switch {
	case err == nil && bytes.Equal(got, want):
		return nil
	case err == nil:
		return &Error{"E-OUTPUT-NOT-EMPTY", fmt.Sprintf("synth: %s holds another data set: %s", c.Out, bytes.TrimSpace(got)), "choose another folder, or remove this one"}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("synth: %w", err)
	}
	entries, err := os.ReadDir(c.Out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("synth: %w", err)
	}
	for _, e := range entries {
		if !isTemporary(e.Name()) {
			return &Error{"E-OUTPUT-NOT-EMPTY", fmt.Sprintf("synth: %s is not empty (it holds %s)", c.Out, e.Name()), "choose another folder, or remove this one"}
		}
	}
	if err := os.MkdirAll(c.Out, 0o777); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	if err := writeFile(name, want); err != nil {
		return fmt.Errorf("synth: %w", err)
	}
	return nil
}

// writeImage makes image i unless it is there; it returns the bytes written.
func writeImage(folder string, i int, c Config, s *shape, p *painter) (int, error) {
	name := filepath.Join(folder, recordID(i)+".jpg")
	if st, err := os.Lstat(name); err == nil && st.Mode().IsRegular() {
		return 0, nil
	}
	r := s.record(c.Seed, i)
	b, err := p.jpeg(c.Seed, i, r.look)
	if err != nil {
		return 0, err
	}
	if k, broken := brokenKind(i, c); broken {
		b = spoil(b, k)
	}
	// An empty file is written too: it counts as one byte so that the caller sees it was written.
	return max(len(b), 1), writeFile(name, b)
}

// brokenKind says whether image i is one of the c.Broken, which are spread evenly, and the how manieth.
func brokenKind(i int, c Config) (kind int, broken bool) {
	if c.Broken == 0 {
		return 0, false
	}
	// Image i is broken if i = floor((2k+1) Records / (2 Broken)) for a whole k.
	k := int(int64(i) * int64(c.Broken) / int64(c.Records))
	for ; k < c.Broken; k++ {
		switch at := int((2*int64(k) + 1) * int64(c.Records) / (2 * int64(c.Broken))); {
		case at == i:
			return k, true
		case at > i:
			return 0, false
		}
	}
	return 0, false
}

// spoil breaks a JPEG in one of the ways met in practice.
func spoil(b []byte, kind int) []byte {
	switch kind % 4 {
	case 0: // an interrupted download
		return b[:len(b)*2/3]
	case 1: // an error page under the picture's name
		return []byte("<!DOCTYPE html><title>404 Not Found</title>\n")
	case 2:
		return nil
	default: // a header that was overwritten
		return append([]byte("\xff\xd8 damaged: nothing to be read from here on "), b[min(700, len(b)):]...)
	}
}

// isTemporary recognises what writeFile leaves behind when the process dies.
func isTemporary(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".tmp")
}

// dropTemporary removes what a killed run has left.
func dropTemporary(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isTemporary(e.Name()) {
			if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFile writes b under a temporary name and renames it.
func writeFile(name string, b []byte) (err error) {
	tmp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".tmp")
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if err := os.WriteFile(tmp, b, 0o666); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
