package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// A file of a kind's own format is committed like a part file: whole, with its sum, once.
func TestFilesOfOtherFormats(t *testing.T) {
	var tries atomic.Int32
	kind := mr.Kind{Name: "file", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			f, err := t.File(ctx, "report/x", ".txt")
			if err != nil {
				return err
			}
			for i := range 3 {
				if _, err := fmt.Fprintf(f, "line %d\n", i); err != nil {
					return err
				}
			}
			f.SetRows(3)
			if tries.Add(1) == 1 {
				return fmt.Errorf("the first attempt fails")
			}
			if _, err := t.Part(ctx, "report/x", mr.PartOptions{}); err == nil {
				return fmt.Errorf("a part file was opened in the channel of the file")
			}
			if _, err := t.File(ctx, "report/x", ".txt"); err == nil {
				return fmt.Errorf("the channel's file was opened twice")
			}
			return nil
		}), nil
	}}
	c := mrtest.New(t, kind)
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "files", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "file", Tasks: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "line 0\nline 1\nline 2\n"
	files := out["p"].Files("report/x")
	if len(files) != 1 || files[0].Rows != 3 || files[0].Bytes != int64(len(want)) || files[0].CRC != checksum.Sum([]byte(want)) || !strings.HasSuffix(string(files[0].Path), ".txt") {
		t.Fatalf("the manifest has %+v", files)
	}
	b, err := dfs.ReadFile(t.Context(), c.Store, files[0].Path, 1<<10)
	if err != nil || string(b) != want {
		t.Errorf("the file holds %q, %v", b, err)
	}
	n := 0
	for info, err := range c.Store.List(t.Context(), "files") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(info.Path), ".txt") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d files are there, want that of the second attempt alone", n)
	}
}
