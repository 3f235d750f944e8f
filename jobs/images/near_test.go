package images

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// placed is a file system whose first half of each file lies on one machine, and its second half on another.
type placed struct {
	dfs.FS
	half  int64
	calls *atomic.Int64
	fails bool
}

func (p placed) Caps() dfs.Caps { return dfs.Caps{Name: "placed", BlockHosts: true} }

func (p placed) Hosts(_ context.Context, path dfs.Path, off, length int64) ([]string, error) {
	p.calls.Add(1)
	if p.fails {
		return nil, errors.New("the NameNode is busy")
	}
	if off+length/2 < p.half {
		return []string{"first of " + string(path)}, nil
	}
	return []string{"second of " + string(path)}, nil
}

// TestSplitsKnowWhereTheyAreNear: in a tar file by ranges, through a folder of the file system, with one call for each split; and a
// file system that fails ends it.
func TestSplitsKnowWhereTheyAreNear(t *testing.T) {
	var members []member
	for i := range 8 {
		members = append(members, member{name: fmt.Sprintf("%d.jpg", i), data: jpg + strings.Repeat("x", 10_000)})
	}
	tar := tarFile(t, members...)
	h := newDisk(t, map[string][]byte{"data/a.tar": tar})
	x := scan(t, h, Spec{URI: "data/a.tar"})
	splits, err := x.Write(t.Context(), h.fs, "index", 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, fails := range []bool{false, true} {
		var calls atomic.Int64
		fs := dfs.Sub(placed{FS: h.fs, half: int64(len(tar)) / 2, calls: &calls, fails: fails}, "data")
		err := x.Locate(t.Context(), func(_ context.Context, uri string) (dfs.FS, dfs.Path, error) {
			return fs, dfs.Path(strings.TrimPrefix(strings.Trim(uri, "/"), "data/")), nil
		}, splits)
		if fails {
			if err == nil {
				t.Error("a failure is not told")
			}
			continue
		}
		if err != nil || calls.Load() != 4 {
			t.Fatalf("%d calls, %v", calls.Load(), err)
		}
		for i, want := range []string{"first", "first", "second", "second"} {
			if got := fmt.Sprint(splits[i].Hosts); got != "["+want+" of data/a.tar]" {
				t.Errorf("split %d is near %s, want the %s half", i, got, want)
			}
		}
	}
	// Where nobody knows, nothing is said.
	splits[0].Hosts = nil
	if err := x.Locate(t.Context(), h.Resolve, splits); err != nil || splits[0].Hosts != nil {
		t.Errorf("%q, %v", splits[0].Hosts, err)
	}
}
