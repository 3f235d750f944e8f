package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// driverLine is a line of a driver's standard error. What is none is its log.
type driverLine struct {
	Progress *progress.Update `json:"progress,omitempty"`
	Plan     string           `json:"plan,omitempty"`  // that runs
	Error    json.RawMessage  `json:"error,omitempty"` // as every command prints it with -o json
}

// ending is how a driver ended of its own.
type ending struct {
	code    int
	verdict string
	failure json.RawMessage
}

// Environment of a driver: where its tracker is. A driver that has them is one.
const (
	DriverVariable = "VISTA_MR_DRIVER"       // the job's id
	AgainVariable  = "VISTA_MR_DRIVER_AGAIN" // not empty: a driver before has had phases run
	TokenVariable  = "VISTA_MR_TOKEN"
)

// drivers starts this program as a job's driver.
type drivers struct {
	program string
	url     string // of the tracker, from here
	token   string // its own
	ca      string // file with the tracker's certificate; "": it has none
	scratch string
	log     *zap.Logger // may be nil

	sweeping sync.Mutex
}

// tidy does what a driver has to leave behind: if that fails, it costs room and says nothing of how the job ended.
func (d *drivers) tidy(what string, f func() error) {
	if err := f(); err != nil && d.log != nil {
		d.log.Warn("what a job's driver has left is not put away", zap.String("what", what), zap.Error(err))
	}
}

// notStarted says that a driver never ran: its tracker's own folder or this program is at fault.
type notStarted struct {
	scratch string
	err     error
}

func (e *notStarted) Error() string {
	if errs.Is(e.err, errs.NoSpace) {
		return fmt.Sprintf("the tracker's local folder (--scratch %s) has no room: %v", e.scratch, e.err)
	}
	return fmt.Sprintf("in the tracker's local folder (--scratch %s): %v", e.scratch, e.err)
}

func (e *notStarted) Unwrap() error { return e.err }

// ErrorID tells a full disk from the rest.
func (e *notStarted) ErrorID() string {
	if errs.Is(e.err, errs.NoSpace) {
		return "E-NO-SPACE"
	}
	return "E-DRIVER"
}

// Hint says what to do next.
func (e *notStarted) Hint() string {
	if errs.Is(e.err, errs.NoSpace) {
		return "free space there, on the tracker's machine, then submit the job again: it goes on where it stopped"
	}
	return "see that the tracker's user can write there and run this program, then submit the job again"
}

// start runs one driver to its end. An error says that it died instead of ending, or was never started (*notStarted).
func (d *drivers) start(ctx context.Context, s *submission, tell func(driverLine)) (ending, error) {
	dir := filepath.Dir(logName(d.scratch, s.ID))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ending{}, d.not(err)
	}
	file := filepath.Join(dir, jobFile)
	if err := os.WriteFile(file, []byte(s.Text), 0o600); err != nil {
		return ending{}, d.not(err)
	}
	log, err := os.OpenFile(logName(d.scratch, s.ID), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return ending{}, d.not(err)
	}
	defer d.tidy(log.Name(), log.Close)
	args := []string{"submit", file, "-o", "json", "--tracker", d.url}
	if s.Resume {
		args = append(args, "--resume")
	}
	for _, set := range s.Sets {
		args = append(args, "--set", set)
	}
	// A driver that is killed leaves what it has in its folder for temporary files: it is this one, and goes with the driver.
	tmp, err := newFolder(filepath.Join(dir, "tmp"))
	if err != nil {
		return ending{}, d.not(err)
	}
	defer d.tidy(tmp, func() error { return os.RemoveAll(tmp) })
	cmd := exec.Command(d.program, args...)
	cmd.Dir = dir
	ca := d.ca
	if ca != "" {
		if ca, err = filepath.Abs(ca); err != nil {
			return ending{}, d.not(err)
		}
	}
	cmd.Env = append(os.Environ(), DriverVariable+"="+s.ID, TokenVariable+"="+d.token, CAVariable+"="+ca, CertVariable+"=", KeyVariable+"=", AgainVariable+"=", "TMPDIR="+tmp)
	if os.Getenv("KRB5CCNAME") == "" { // tickets are looked for in this process's folder, too
		cmd.Env = append(cmd.Env, fmt.Sprintf("KRB5CCNAME=FILE:%s", filepath.Join(os.TempDir(), fmt.Sprintf("krb5cc_%d", os.Getuid()))))
	}
	if s.again {
		cmd.Env = append(cmd.Env, AgainVariable+"=yes")
	}
	// The driver ends when this pipe does, which is when the tracker ends, however that comes about.
	alive, err := cmd.StdinPipe()
	if err != nil {
		return ending{}, d.not(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return ending{}, d.not(err)
	}
	fmt.Fprintf(log, "%s driver of %s starts\n", time.Now().UTC().Format(time.RFC3339), s.ID)
	if err := cmd.Start(); err != nil {
		return ending{}, d.not(err)
	}
	stopped := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it has ended, or ends
		time.AfterFunc(killAfter, func() { _ = cmd.Process.Kill() })
	})
	defer stopped()
	var end ending
	readErr := readDriver(stderr, log, func(l driverLine) {
		if len(l.Error) > 0 {
			end.failure = l.Error
		}
		tell(l)
	})
	err = cmd.Wait()
	_ = alive.Close() // it has ended
	end.code = cmd.ProcessState.ExitCode()
	fmt.Fprintf(log, "%s driver of %s ends: %v\n", time.Now().UTC().Format(time.RFC3339), s.ID, cmd.ProcessState)
	if end.code == 0 {
		var r struct {
			Verdict struct {
				Sentence string `json:"sentence"`
			} `json:"verdict"`
		}
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			return end, fmt.Errorf("the driver's results: %w", err)
		}
		end.verdict = r.Verdict.Sentence
		return end, nil
	}
	if end.failure == nil || end.code < 0 {
		return end, errors.Join(err, readErr)
	}
	return end, nil
}

func (d *drivers) not(err error) error { return &notStarted{d.scratch, err} }

// newFolder makes an empty folder.
func newFolder(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return name, errors.Join(os.RemoveAll(name), os.MkdirAll(name, 0o700))
}

// killAfter is how long a driver may take to end when it is told to.
const killAfter = 10 * time.Second

// maxLine is how much of a driver's line is kept.
const maxLine = 1 << 20

// readDriver tells what a driver's lines say, and keeps the others. Whatever happens, it reads to the end: the driver must not wait for a reader.
func readDriver(r io.Reader, log io.Writer, tell func(driverLine)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, cut, err := nextLine(in)
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		var werr error
		if cut > 0 {
			_, werr = fmt.Fprintf(log, "%s ... %d more bytes of this line are left out\n", line, cut)
		} else if !tells(line, tell) {
			_, werr = fmt.Fprintf(log, "%s\n", line)
		}
		switch {
		case werr != nil:
			_, _ = io.Copy(io.Discard, in)
			return werr
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// nextLine reads a line, without its end, and tells how many bytes of it are left out.
func nextLine(in *bufio.Reader) (line []byte, cut int64, err error) {
	for {
		piece, err := in.ReadSlice('\n')
		ends := err != bufio.ErrBufferFull
		if ends {
			piece = bytes.TrimSuffix(bytes.TrimSuffix(piece, []byte("\n")), []byte("\r"))
		}
		room := min(len(piece), maxLine-len(line))
		line = append(line, piece[:room]...)
		cut += int64(len(piece) - room)
		if ends {
			return line, cut, err
		}
	}
}

// tells tells what a line says, if it says something, and whether nothing of it is for the log.
func tells(line []byte, tell func(driverLine)) bool {
	var l driverLine
	if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &l) != nil || l.Progress == nil && l.Plan == "" && l.Error == nil {
		return false
	}
	tell(l)
	return l.Error == nil
}

// ProgressLines is a driver's way to tell its progress.
type ProgressLines struct{ W io.Writer }

// Update writes a line.
func (p ProgressLines) Update(u progress.Update) { p.line(driverLine{Progress: &u}) }

// Plan tells the plan that runs.
func (p ProgressLines) Plan(text string) { p.line(driverLine{Plan: text}) }

func (p ProgressLines) line(l driverLine) {
	if b, err := json.Marshal(l); err == nil && p.W != nil {
		_, _ = p.W.Write(append(b, '\n')) // a tracker that does not listen any more is about to end this process
	}
}
