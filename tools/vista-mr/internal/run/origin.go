package run

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
)

// origin is what a run's results come from beside its job file, whose digest guards the output folder. A run
// is taken up again only where all of it is what it was: phases that are published say nothing about inputs
// that have changed since.
type origin struct {
	Program  string      `json:"program"` // digest of the program's file: another build may compute other bits
	Runtime  string      `json:"runtime"` // version of ONNX Runtime
	Decoder  string      `json:"decoder"` // of JPEG
	Table    []inputFile `json:"table"`
	Images   listing     `json:"images"`
	Weights  string      `json:"weights,omitempty"` // digest of the file; "" without one
	Programs []string    `json:"programs"`          // digests of the CNN's programs, weights included
}

// inputFile is a file with the digest of its content.
type inputFile struct {
	URI    string `json:"uri"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// listing is a folder's files by name, size and time: reading all images to see whether they are the same
// would cost more than what it saves.
type listing struct {
	Images int64  `json:"images"`
	SHA256 string `json:"sha256"`
}

// changes names what is not what it was, in words; nothing if a run may go on.
func (o *origin) changes(now *origin) []string {
	var out []string
	add := func(same bool, what string) {
		if !same {
			out = append(out, what)
		}
	}
	add(slices.Equal(o.Table, now.Table), "the table")
	add(o.Images == now.Images, "the images")
	add(o.Weights == now.Weights, "the weights")
	add(o.Weights != now.Weights || slices.Equal(o.Programs, now.Programs), "the network")
	add(o.Program == now.Program, "vista-mr itself")
	add(o.Runtime == now.Runtime, "ONNX Runtime")
	add(o.Decoder == now.Decoder, "the JPEG decoder")
	return out
}

// planned is a run whose plan is gone on with: nil, if there is none, or if its table or images are other ones now. How many partitions
// there are is for the images that there were, and nothing that it has computed will count.
func (k *kept) planned(ctx context.Context, d *data) (*kept, error) {
	if k == nil || d.images != nil && k.Origin.Images != (listing{Images: d.images.Images, SHA256: d.images.Listing}) {
		return nil, nil
	}
	if d.table == nil {
		return k, nil
	}
	now, err := d.digests(ctx)
	if err != nil || !slices.Equal(k.Origin.Table, now) {
		return nil, err
	}
	return k, nil
}

// digests are those of the table's files, which are read for them once.
func (d *data) digests(ctx context.Context) ([]inputFile, error) {
	if d.read != nil {
		return d.read, nil
	}
	var all []inputFile
	for _, f := range d.tables {
		in, err := digestOf(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, in)
	}
	d.read = all
	return all, nil
}

// tableDigest is that of the table's only file or, of a folder, of its files' digests in order.
func (o *origin) tableDigest() string {
	if len(o.Table) == 1 {
		return o.Table[0].SHA256
	}
	h := sha256.New()
	for _, f := range o.Table {
		fmt.Fprintf(h, "%s\n", f.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// newOrigin reads the table, to which nothing but its content is a witness, and the program.
func newOrigin(ctx context.Context, d *data, ns networks, models programs, runtime string) (*origin, error) {
	o := &origin{Runtime: runtime, Decoder: os.Getenv(decoderVariable), Images: listing{Images: d.images.Images, SHA256: d.images.Listing},
		Weights: ns.weights()}
	if version, ok := image.TurboAvailable(); ok && o.Decoder != "" && o.Decoder != "go" {
		o.Decoder += " " + version
	}
	for _, m := range models {
		o.Programs = append(o.Programs, m.Digest)
	}
	slices.Sort(o.Programs)
	var err error
	if o.Table, err = d.digests(ctx); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("where this program lies: %w", err)
	}
	f, err := os.Open(exe)
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	o.Program = hex.EncodeToString(h.Sum(nil))
	return o, nil
}

func digestOf(ctx context.Context, r mr.FileRange) (inputFile, error) {
	fs, path, err := stores().Resolve(ctx, r.URI)
	if err != nil {
		return inputFile{}, err
	}
	f, err := fs.Open(ctx, path)
	if err != nil {
		return inputFile{}, err
	}
	defer f.Close() // reading only
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size()))
	return inputFile{URI: r.URI, Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// sentence says why a run does not go on.
func sentence(changed []string) string {
	verb := "has"
	if len(changed) > 1 || strings.HasSuffix(changed[0], "s") && changed[0] != "the network" {
		verb = "have"
	}
	return fmt.Sprintf("%s %s changed since the run was interrupted", strings.Join(changed, " and "), verb)
}

// read reads the files of a network and notes the digest of its weights.
func (n *network) read() func(context.Context, string) ([]byte, error) {
	read := n.files.Read
	return func(ctx context.Context, uri string) ([]byte, error) {
		b, err := read(ctx, uri)
		if err == nil && uri == cmp.Or(n.job.Weights, n.job.Model) {
			sum := sha256.Sum256(b)
			n.weights = hex.EncodeToString(sum[:])
		}
		return b, err
	}
}
