package attemptlog

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Folder is where the logs of a job lie in its store.
func Folder(job mr.JobID) dfs.Path { return dfs.Path(job).Join("logs") }

// Path is the file of an attempt's log: logs/PHASE/TASK-ATTEMPT-eEPOCH.log in the job's folder.
func Path(job mr.JobID, a mr.AttemptID, epoch int64) dfs.Path {
	return phase(job, a.Task.Phase).Join(fmt.Sprintf("%05d-%d-e%d.log", a.Task.Index, a.Number, epoch))
}

func phase(job mr.JobID, id mr.PhaseID) dfs.Path { return Folder(job).Join(mr.FileName(string(id))) }

// Text is the log of an attempt that has ended.
type Text struct {
	Attempt mr.AttemptID
	Epoch   int64
	Log     []byte
}

// Find reads the logs of a task's attempts in the order of epochs and numbers; number 0: of all of them.
func Find(ctx context.Context, store dfs.FS, job mr.JobID, task mr.TaskID, number int) ([]Text, error) {
	var out []Text
	for i, err := range store.List(ctx, phase(job, task.Phase)) {
		if err != nil {
			return nil, err
		}
		index, n, epoch, ok := parse(i.Path.Base())
		if !ok || index != task.Index || number > 0 && n != number {
			continue
		}
		b, err := dfs.ReadFile(ctx, store, i.Path, MaxBytes)
		if err != nil {
			return nil, err
		}
		out = append(out, Text{mr.AttemptID{Task: task, Number: n}, epoch, b})
	}
	slices.SortFunc(out, func(a, b Text) int { return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), a.Attempt.Number-b.Attempt.Number) })
	return out, nil
}

// parse takes the name of a log's file apart.
func parse(base string) (index, number int, epoch int64, ok bool) {
	name, ok := strings.CutSuffix(base, ".log")
	parts := strings.Split(name, "-")
	if !ok || len(parts) != 3 || !strings.HasPrefix(parts[2], "e") {
		return 0, 0, 0, false
	}
	index, e1 := strconv.Atoi(parts[0])
	number, e2 := strconv.Atoi(parts[1])
	epoch, e3 := strconv.ParseInt(parts[2][1:], 10, 64)
	return index, number, epoch, e1 == nil && e2 == nil && e3 == nil
}

// heading is the line before a log in a file of several.
func heading(a mr.AttemptID, epoch int64) string {
	return fmt.Sprintf("==> %s epoch %d <==\n", a, epoch)
}

// Join writes all logs of a job into one file, each below a line that names its attempt, by phases, tasks and attempts, until the file has
// more than limit bytes; those that then have no room are counted in its last line. Phases that are not named are left
// out. It returns how many logs were written; 0: nothing was written at all.
func Join(ctx context.Context, store dfs.FS, job mr.JobID, phases []mr.PhaseID, w io.Writer, limit int64) (int, error) {
	written, left := 0, 0
	var bytes int64
	for _, id := range phases {
		for i, err := range store.List(ctx, phase(job, id)) {
			if err != nil {
				return written, err
			}
			index, n, epoch, ok := parse(i.Path.Base())
			if !ok {
				continue
			}
			if bytes > limit {
				left++
				continue
			}
			b, err := dfs.ReadFile(ctx, store, i.Path, MaxBytes)
			if err != nil {
				return written, err
			}
			b = append([]byte(heading(mr.AttemptID{Task: mr.TaskID{Phase: id, Index: index}, Number: n}, epoch)), b...)
			if _, err := w.Write(append(b, '\n')); err != nil {
				return written, err
			}
			written++
			bytes += int64(len(b))
		}
	}
	if left > 0 {
		if _, err := fmt.Fprintf(w, "==> the logs of %d more attempts are left out <==\n", left); err != nil {
			return written, err
		}
	}
	return written, nil
}

// FindJoined is Find in a file that Join has written. It reads the file once, in order, and holds only what it finds.
func FindJoined(r io.Reader, task mr.TaskID, number int) ([]Text, error) {
	in := bufio.NewReaderSize(r, 64<<10) // r itself where that has a buffer as large
	var out []Text
	var current *Text
	for begins := true; ; { // a line, which may be longer than the buffer
		line, err := in.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, err
		}
		var a mr.AttemptID
		var epoch int64
		heads := begins && bytes.HasPrefix(line, []byte("==> "))
		if heads {
			a, epoch, heads = parseHeading(line)
		}
		if heads {
			current = nil
			if a.Task == task && (number == 0 || a.Number == number) {
				out = append(out, Text{Attempt: a, Epoch: epoch})
				current = &out[len(out)-1]
			}
		} else if current != nil {
			current.Log = append(current.Log, line[:min(len(line), MaxBytes+1-len(current.Log))]...) // none is longer, with what Join adds
		}
		begins = err == nil
		if err == io.EOF {
			break
		}
	}
	for i := range out {
		out[i].Log = bytes.TrimSuffix(out[i].Log, []byte("\n")) // the one that Join has added
	}
	return out, nil
}

func parseHeading(line []byte) (a mr.AttemptID, epoch int64, ok bool) {
	rest, ok := strings.CutPrefix(string(line), "==> ")
	rest, ends := strings.CutSuffix(rest, " <==\n")
	name, e, cut := strings.Cut(rest, " epoch ")
	if !ok || !ends || !cut || a.UnmarshalText([]byte(name)) != nil {
		return a, 0, false
	}
	epoch, err := strconv.ParseInt(e, 10, 64)
	return a, epoch, err == nil
}

// Target is what a person asks for: PHASE/TASK or PHASE/TASK/ATTEMPT, where 0 stands for all attempts. The name of a phase may hold slashes, so
// that only the phases of the job can tell the two apart.
func Target(s string, known func(mr.PhaseID) bool) (mr.TaskID, int, error) {
	var a mr.AttemptID
	if legal(s) && a.UnmarshalText([]byte(s)) == nil && (known == nil || known(a.Task.Phase)) {
		return a.Task, a.Number, nil
	}
	var t mr.TaskID
	if err := t.UnmarshalText([]byte(s)); err != nil || !legal(s) {
		return t, 0, errs.E("logs", errs.Invalid, s, fmt.Errorf("%q names no task: write PHASE/TASK or PHASE/TASK/ATTEMPT, as extract/00007/2", s))
	}
	return t, 0, nil
}

// legal tells whether no element of a target would be dropped from a URL or a path.
func legal(s string) bool {
	for _, word := range strings.Split(s, "/") {
		if word == "." || word == ".." {
			return false
		}
	}
	return true
}

// PhaseSize is a phase of a job with its number of tasks; 0: not known yet.
type PhaseSize struct {
	ID    mr.PhaseID
	Tasks int
}

// Missing says why a job has no such task, with what there is; nil: it may have one. The kind of the error is NotExist.
func Missing(t mr.TaskID, phases []PhaseSize) error {
	var names []string
	for _, p := range phases {
		if names = append(names, string(p.ID)); p.ID != t.Phase {
			continue
		}
		if p.Tasks == 0 || t.Index < p.Tasks {
			return nil
		}
		return missing(t.String(), fmt.Sprintf("phase %s has no task %d: its tasks are 0 to %d", p.ID, t.Index, p.Tasks-1))
	}
	if len(names) == 0 {
		return missing(t.String(), "no phase of the job has begun")
	}
	return missing(t.String(), fmt.Sprintf("no phase %s of the job has begun; there are %s", t.Phase, strings.Join(names, ", ")))
}

// MissingAttempt says that a task has no attempt of this number, but others.
func MissingAttempt(t mr.TaskID, number int, there []mr.AttemptID) error {
	var numbers []string
	for _, a := range there {
		if n := strconv.Itoa(a.Number); !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	return missing(fmt.Sprintf("%s/%d", t, number), fmt.Sprintf("nothing is known of an attempt %d of %s; there are logs of %s", number, t, strings.Join(numbers, ", ")))
}

func missing(target, cause string) error {
	return &errs.Error{Op: "logs", Kind: errs.NotExist, ID: "E-NO-TASK", Path: target, Err: errors.New(cause), Fix: "vista-mr status shows a job's phases and how many tasks they have"}
}
