package local_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// splitLines yields the lines of a task's split.
func splitLines(ctx context.Context, t mr.Task, f func(line string) error) error {
	for _, file := range t.Spec().Split.Files {
		fs, p, err := t.Resolve(ctx, file.URI)
		if err != nil {
			return err
		}
		data, err := dfs.ReadFile(ctx, fs, p, 1<<30)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			if err := f(strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
	}
	return nil
}

// reduceFunc is a Reducer made of a function.
type reduceFunc func(ctx context.Context, t mr.Task, key []byte, values iter.Seq2[mr.Value, error]) error

func (f reduceFunc) Reduce(ctx context.Context, t mr.Task, key []byte, values iter.Seq2[mr.Value, error]) error {
	return f(ctx, t, key, values)
}

func addUp(key []byte, values iter.Seq[[]byte], emit func(key, value []byte) error) error {
	n := uint64(0)
	for v := range values {
		n += binary.BigEndian.Uint64(v)
	}
	return emit(key, binary.BigEndian.AppendUint64(nil, n))
}

// wordCount is the classic, with a combiner.
func wordCount() []mr.Kind {
	one := binary.BigEndian.AppendUint64(nil, 1)
	return []mr.Kind{
		{Name: "words", Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
				return splitLines(ctx, t, func(line string) error {
					t.Count("lines", 1)
					for _, w := range strings.Fields(line) {
						if err := t.Emit(ctx, []byte(w), one); err != nil {
							return err
						}
					}
					return nil
				})
			}), nil
		}, Combine: func(json.RawMessage) (mr.Combine, error) { return addUp, nil }},
		{Name: "count", Reduce: func(json.RawMessage) (mr.Reducer, error) {
			return reduceFunc(func(ctx context.Context, t mr.Task, key []byte, values iter.Seq2[mr.Value, error]) error {
				n := uint64(0)
				for v, err := range values {
					if err != nil {
						return err
					}
					n += binary.BigEndian.Uint64(v.Data)
				}
				out, err := t.Part(ctx, "counts", mr.PartOptions{})
				if err != nil {
					return err
				}
				return out.Append(key, strconv.AppendUint(nil, n, 10))
			}), nil
		}},
	}
}

func splits(t *testing.T, texts ...string) []mr.Split {
	t.Helper()
	var out []mr.Split
	for i, text := range texts {
		name := filepath.Join(t.TempDir(), fmt.Sprintf("in-%d.txt", i))
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		out = append(out, mr.Split{Files: []mr.FileRange{{URI: name}}})
	}
	return out
}

func wordCountJob(in []mr.Split) *mr.JobSpec {
	return &mr.JobSpec{ID: "wc", Phases: []mr.PhaseSpec{
		{ID: "map", Type: mr.MapPhase, Kind: "words", Splits: in, Partitions: 3},
		{ID: "reduce", Type: mr.ReducePhase, Kind: "count", Tasks: 3, Inputs: []mr.Input{{Name: "words", Phase: "map", Mode: mr.Shuffled}}},
	}}
}

func TestWordCount(t *testing.T) {
	c := mrtest.New(t, wordCount()...)
	out, err := c.Run(t.Context(), wordCountJob(splits(t, "a b a\nc\n", "b a\n", "", "d d d d\n")))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Sorted(t, out["reduce"], "counts")
	if want := []string{"a=3", "b=2", "c=1", "d=4"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := out["map"].Sum("lines"); n != 4 {
		t.Errorf("%d lines counted, want 4", n)
	}
}

func TestLosersAndFailuresLeaveNoTrace(t *testing.T) {
	var tries atomic.Int32
	flaky := mr.Kind{Name: "flaky", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			t.Count("seen", 1)
			out, err := t.Part(ctx, "out", mr.PartOptions{})
			if err != nil {
				return err
			}
			if err := out.Append([]byte("k"), []byte(t.Spec().Attempt.String())); err != nil {
				return err
			}
			if n := tries.Add(1); n < 4 {
				return fmt.Errorf("failure number %d", n)
			}
			return nil
		}), nil
	}}
	c := mrtest.New(t, flaky)
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "flaky", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "flaky", Tasks: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Sorted(t, out["p"], "out"); !slices.Equal(got, []string{"k=p/00000/4"}) || out["p"].Sum("seen") != 1 {
		t.Errorf("got %v and counted %d; want the fourth attempt's record, counted once", got, out["p"].Sum("seen"))
	}
}

func TestJobFailsWithTheTasksError(t *testing.T) {
	boom := func(err error) mr.Kind {
		return mr.Kind{Name: "boom", Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.MapperFunc(func(context.Context, mr.Task) error { return err }), nil
		}}
	}
	panics := mr.Kind{Name: "boom", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(context.Context, mr.Task) error { panic("index out of range") }), nil
	}}
	for _, c := range []struct {
		name string
		kind mr.Kind
		want errs.Kind
		text string
	}{
		{"same error twice", boom(errors.New("no")), errs.Unknown, "same error twice"},
		{"wrong input", boom(errs.E("read", errs.Invalid, "in.csv", errors.New("bad header"))), errs.Invalid, "in.csv"},
		{"panic", panics, errs.Internal, "index out of range"},
	} {
		cl := mrtest.New(t, c.kind)
		_, err := cl.Run(t.Context(), &mr.JobSpec{ID: "boom", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "boom", Tasks: 2}}})
		if errs.KindOf(err) != c.want || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v of kind %v; want kind %v and %q", c.name, err, errs.KindOf(err), c.want, c.text)
		}
	}
}

func TestCancelStopsAndResumeGoesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mapped atomic.Int32
	hold := true
	kinds := []mr.Kind{
		{Name: "first", Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { mapped.Add(1); return nil }), nil
		}},
		{Name: "second", Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
				if hold {
					cancel()
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}), nil
		}},
	}
	c := mrtest.New(t, kinds...)
	job := &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
		{ID: "a", Type: mr.MapPhase, Kind: "first", Tasks: 3},
		{ID: "b", Type: mr.MapPhase, Kind: "second", Tasks: 1, After: []mr.PhaseID{"a"}},
	}}
	if _, err := c.Run(ctx, job); !errs.Is(err, errs.Canceled) {
		t.Fatalf("cancelled: %v, want canceled", err)
	}
	hold = false
	out, err := c.Run(t.Context(), job)
	if err != nil || len(out) != 2 {
		t.Fatalf("resumed: %d phases, %v", len(out), err)
	}
	if n := mapped.Load(); n != 3 {
		t.Errorf("the published phase ran %d tasks, want 3: it is not run again", n)
	}
}

// TestCommittedTasksAreKept: of a phase that was stopped, what had been committed is not run again, and its output counts.
func TestCommittedTasksAreKept(t *testing.T) {
	const tasks = 6
	ctx, cancel := context.WithCancel(t.Context())
	var runs [tasks]atomic.Int32
	hold, kept := true, make(chan struct{}, tasks)
	write := mr.Kind{Name: "write", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			i := t.Spec().Attempt.Task.Index
			if hold && i == 4 {
				for range i { // a task may begin while the results of those before it are being kept
					<-kept
				}
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
			runs[i].Add(1)
			t.Count("rows", 1)
			out, err := t.Part(ctx, "rows", mr.PartOptions{})
			if err != nil {
				return err
			}
			return out.Append([]byte{'a' + byte(i)}, nil)
		}), nil
	}}
	c := mrtest.New(t, write)
	c.Slots = 1
	c.Observe = func(u tracker.Update) {
		if u.Kind == tracker.AttemptSucceeded {
			kept <- struct{}{}
		}
	}
	job := &mr.JobSpec{ID: "k", Phases: []mr.PhaseSpec{{ID: "a", Type: mr.MapPhase, Kind: "write", Tasks: tasks}}}
	if _, err := c.Run(ctx, job); !errs.Is(err, errs.Canceled) {
		t.Fatalf("cancelled: %v, want canceled", err)
	}
	hold = false
	out, err := c.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	for i := range runs {
		if n := runs[i].Load(); n != 1 {
			t.Errorf("task %d ran %d times", i, n)
		}
	}
	rows, err := c.Records(t.Context(), out["a"], "rows")
	if want := []string{"a=", "b=", "c=", "d=", "e=", "f="}; !slices.Equal(rows, want) || err != nil {
		t.Errorf("got %q, %v; want %q", rows, err, want)
	}
}

func TestDroppedAndDiscardedFilesAreGone(t *testing.T) {
	write := mr.Kind{Name: "write", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			for _, ch := range []string{"keep", "drop"} {
				out, err := t.Part(ctx, ch, mr.PartOptions{})
				if err != nil {
					return err
				}
				if err := out.Append([]byte("a"), nil); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
	c := mrtest.New(t, write)
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "d", Phases: []mr.PhaseSpec{
		{ID: "a", Type: mr.MapPhase, Kind: "write", Tasks: 2},
		{ID: "b", Type: mr.MapPhase, Kind: "write", Tasks: 2, After: []mr.PhaseID{"a"}, Drop: []mr.Drop{{Phase: "a", Channel: "drop"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for info, err := range c.Store.List(t.Context(), "d") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(info.Path), ".avro") {
			left = append(left, info.Path.Base())
		}
	}
	sort.Strings(left)
	want := []string{"drop-00000.avro", "drop-00001.avro", "keep-00000.avro", "keep-00000.avro", "keep-00001.avro", "keep-00001.avro"}
	if !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	if _, err := c.Records(t.Context(), out["a"], "drop"); !errs.Is(err, errs.NotExist) {
		t.Errorf("a dropped file: %v, want not-exist", err)
	}
}
