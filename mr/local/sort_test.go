package local_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/mrtest"
	"github.com/vista-mr/vista-mr/mr/task"
)

const (
	sortTasks   = 3
	sortMemory  = 256 << 10
	sortRecords = 10 * sortMemory / sortBytes // of each task: ten times its memory
	sortBytes   = 100                         // a key of 10 bytes and a value of 90, as sort benchmarks have it
)

// sortKinds sort random records by key over ranges of keys.
func sortKinds() []mr.Kind {
	emit := mr.Kind{Name: "records", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			rnd := rand.New(rand.NewPCG(uint64(t.Spec().Attempt.Task.Index), 5))
			key, value := make([]byte, 10), make([]byte, 90)
			for range sortRecords {
				binary.BigEndian.PutUint64(key, rnd.Uint64())
				for i := range value { // half of it cannot be packed
					value[i] = byte(rnd.Uint32()) & 0x0f
				}
				t.Count("keys", int64(key[3]))
				if err := t.Emit(ctx, key, value); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}, Partition: func(json.RawMessage) (func(key []byte, n int) int, error) {
		return func(key []byte, n int) int { return int(key[0]) * n / 256 }, nil
	}}
	write := mr.Kind{Name: "write", Reduce: func(json.RawMessage) (mr.Reducer, error) {
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
	return []mr.Kind{emit, write}
}

// TestSortTenTimesItsMemory sorts, on local disk, ten times what each task may hold: the part
// files one behind the other are in order, nothing is lost, and the tasks did spill.
func TestSortTenTimesItsMemory(t *testing.T) {
	c := mrtest.New(t, sortKinds()...)
	c.Store, c.SortMemory = local.New(t.TempDir(), false), sortMemory
	spills := watchSpills(t, c.Scratch)
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "sort", Phases: []mr.PhaseSpec{
		{ID: "map", Type: mr.MapPhase, Kind: "records", Tasks: sortTasks, Partitions: 4},
		{ID: "reduce", Type: mr.ReducePhase, Kind: "write", Tasks: 4, Inputs: []mr.Input{{Name: "in", Phase: "map", Mode: mr.Shuffled}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if spills() == 0 {
		t.Error("nothing was spilled: the sort had more memory than it was given")
	}
	total, keys := 0, int64(0)
	var last []byte
	for _, f := range out["reduce"].Files("sorted") {
		for r, err := range task.ReadPart(t.Context(), c.Store, f) {
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Compare(last, r.Key) > 0 {
				t.Fatalf("%x stands before %x", last, r.Key)
			}
			last = append(last[:0], r.Key...)
			keys += int64(r.Key[3])
			total++
		}
	}
	if want := sortTasks * sortRecords; total != want || keys != out["map"].Sum("keys") {
		t.Errorf("%d records came out of %d; the sum over keys is %d, want %d", total, want, keys, out["map"].Sum("keys"))
	}
}

// watchSpills looks into the attempts' scratch folders until the function that it returns is
// called, which tells how many spills it has seen at once.
func watchSpills(t *testing.T, dir string) func() int {
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.Tick(2 * time.Millisecond); ; {
			n := int64(0)
			attempts, _ := os.ReadDir(dir) // attempts come and go while it looks
			for _, a := range attempts {
				files, _ := os.ReadDir(dir + "/" + a.Name())
				for _, f := range files {
					if strings.HasPrefix(f.Name(), "spill-") {
						n++
					}
				}
			}
			most.Store(max(most.Load(), n))
			select {
			case <-stop:
				return
			case <-tick:
			}
		}
	}()
	return func() int { close(stop); <-stopped; return int(most.Load()) }
}
