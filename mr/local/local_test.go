package local_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
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
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
	"github.com/vista-mr/vista-mr/mr/task"
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

// TestSortTenTimesItsMemory sorts records by key through the shuffle, with range partitions,
// in a tenth of the memory that the data take, on local disk.
func TestSortTenTimesItsMemory(t *testing.T) {
	const tasks, records, memory = 4, 20_000, 200 << 10 // 4 x 20,000 x 26 bytes = 2 MB
	byRange := mr.Kind{Name: "sort", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			i := t.Spec().Attempt.Task.Index
			rnd := rand.New(rand.NewPCG(uint64(i), 5))
			for range records {
				key := binary.BigEndian.AppendUint64(nil, rnd.Uint64())
				if err := t.Emit(ctx, key, append(binary.BigEndian.AppendUint64(nil, uint64(i)), key[:2]...)); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
	identity := mr.Kind{Name: "write", Reduce: func(json.RawMessage) (mr.Reducer, error) {
		return reduceFunc(func(ctx context.Context, t mr.Task, key []byte, values iter.Seq2[mr.Value, error]) error {
			out, err := t.Part(ctx, "sorted", mr.PartOptions{})
			if err != nil {
				return err
			}
			for v, err := range values {
				if err != nil {
					return err
				}
				if err := out.Append(key, v.Data); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
	c := mrtest.New(t, byRange, identity)
	c.Store, c.SortMemory = local.New(t.TempDir(), false), memory
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "sort", Phases: []mr.PhaseSpec{
		{ID: "map", Type: mr.MapPhase, Kind: "sort", Tasks: tasks, Partitions: 5},
		{ID: "reduce", Type: mr.ReducePhase, Kind: "write", Tasks: 5, Inputs: []mr.Input{{Name: "in", Phase: "map", Mode: mr.Shuffled}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, f := range out["reduce"].Files("sorted") {
		var last []byte
		for r, err := range task.ReadPart(t.Context(), c.Store, f) {
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Compare(last, r.Key) > 0 {
				t.Fatalf("%x stands before %x", last, r.Key)
			}
			last = append(last[:0], r.Key...)
			total++
		}
	}
	if total != tasks*records {
		t.Errorf("%d records came out of %d", total, tasks*records)
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

// rounds sums numbers that its partitions hold, a few rounds long, and loses one partition's
// first try on the way.
type sums struct{ failed *atomic.Bool }

func (s sums) Open(ctx context.Context, t mr.Task) (mr.Partition, error) {
	return &sumPartition{s: s, index: t.Spec().Attempt.Task.Index}, nil
}

type sumPartition struct {
	s     sums
	index int
}

func (p *sumPartition) Round(_ context.Context, round int, msg, dst []byte) ([]byte, error) {
	if round == 2 && p.index == 3 && p.s.failed.CompareAndSwap(false, true) {
		return nil, errs.E("round", errs.NoMemory, "", errors.New("lost on the way"))
	}
	return binary.BigEndian.AppendUint64(dst, uint64(p.index)+binary.BigEndian.Uint64(msg)), nil
}

func (p *sumPartition) Finish(_ context.Context, t mr.Task, final []byte) error {
	return t.SetValue(string(final))
}

func (p *sumPartition) Close() error { return nil }

type sumLoop struct{ rounds []uint64 }

func (l *sumLoop) Merge(a, b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint64(a[:0], binary.BigEndian.Uint64(a)+binary.BigEndian.Uint64(b)), nil
}

func (l *sumLoop) Next(_ context.Context, sum []byte) ([]byte, bool, error) {
	n := uint64(0)
	if sum != nil {
		n = binary.BigEndian.Uint64(sum)
		l.rounds = append(l.rounds, n)
	}
	if len(l.rounds) == 4 {
		return fmt.Append(nil, l.rounds), true, nil
	}
	return binary.BigEndian.AppendUint64(nil, n), false, nil
}

func TestRoundsCountEveryPartitionOnce(t *testing.T) {
	for _, slots := range []int{1, 2, 7} {
		var failed atomic.Bool
		kind := mr.Kind{Name: "sums",
			Rounds: func(json.RawMessage) (mr.Rounds, error) { return sums{&failed}, nil },
			Loop: func(context.Context, json.RawMessage, func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
				return &sumLoop{}, nil
			}}
		c := mrtest.New(t, kind)
		c.Slots = slots
		out, err := c.Run(t.Context(), &mr.JobSpec{ID: "r", Phases: []mr.PhaseSpec{{ID: "sum", Type: mr.RoundsPhase, Kind: "sums", Tasks: 5}}})
		if err != nil {
			t.Fatal(err)
		}
		// 0+1+2+3+4 = 10, then each round adds five times the sum before: 10, 60, 310, 1560.
		for i, m := range out["sum"].Tasks {
			if string(m.Value) != `"[10 60 310 1560]"` {
				t.Errorf("%d slots: task %d ended with %s", slots, i, m.Value)
			}
		}
		if !failed.Load() {
			t.Error("the test lost no partition")
		}
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
