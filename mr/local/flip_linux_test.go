package local_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// pins keeps a partition of ones on the local disk and sums it up each round. In one round a byte of one of the files is flipped.
type pins struct{ opened, flipped *atomic.Int32 }

const pinned = 5000

func (p pins) Open(_ context.Context, t mr.Task) (mr.Partition, error) {
	p.opened.Add(1)
	f, err := t.Cache().NewFloats(pinned)
	if err != nil {
		return nil, err
	}
	ones := make([]float32, pinned)
	for i := range ones {
		ones[i] = 1
	}
	return &pin{p, f}, errors.Join(f.Append(ones), f.Seal())
}

type pin struct {
	pins
	f *cache.Floats
}

func (p *pin) Round(_ context.Context, round int, _, dst []byte) ([]byte, error) {
	if round == 1 && p.flipped.Add(1) == 1 {
		if err := flipCacheFile(); err != nil {
			return nil, err
		}
	}
	v, _, err := p.f.View(0, pinned, nil)
	if err != nil {
		return nil, err
	}
	sum := 0.0
	for _, x := range v {
		sum += float64(x)
	}
	return binary.BigEndian.AppendUint64(dst, uint64(sum)), nil
}

// flipCacheFile damages one of the process's files of pinned partitions, which have no names any more.
func flipCacheFile() error {
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	for _, fd := range all {
		if name, err := os.Readlink(fd); err != nil || !strings.Contains(name, "/cache-") {
			continue
		}
		f, err := os.OpenFile(fd, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{0x55}, 4321)
		return errors.Join(err, f.Close())
	}
	return errors.New("no partition is on disk")
}

func (p *pin) Finish(_ context.Context, t mr.Task, final []byte) error {
	return t.SetValue(string(final))
}
func (p *pin) Close() error { return p.f.Close() }

// TestFlippedByteOfAPinnedPartition on the local disk: the partition is read anew, nobody is charged, and sums are right.
func TestFlippedByteOfAPinnedPartition(t *testing.T) {
	p := pins{new(atomic.Int32), new(atomic.Int32)}
	c := mrtest.New(t, mr.Kind{Name: "pin",
		Rounds: func(json.RawMessage) (mr.Rounds, error) { return p, nil },
		Merge:  mergeSums,
		Loop: func(context.Context, json.RawMessage, func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
			return &sumLoop{}, nil
		}})
	c.Cache = 0
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "pin", MaxAttempts: 1, Phases: []mr.PhaseSpec{{ID: "sum", Type: mr.RoundsPhase, Kind: "pin", Tasks: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	const sum = 3 * pinned
	if got, want := string(out["sum"].Tasks[0].Value), fmt.Sprintf(`"%d"`, []int{sum, sum, sum, sum}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := p.opened.Load(); n != 4 {
		t.Errorf("%d partitions were read, want the three and one anew", n)
	}
}
