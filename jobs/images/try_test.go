package images

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

func TestPathsThatNameNothing(t *testing.T) {
	under := mem.New()
	if err := dfs.WriteFile(t.Context(), under, "base/last.jpg", []byte("x")); err != nil {
		t.Fatal(err)
	}
	fs := fault.New(under, fault.Options{})
	scan := func(n int, last string) *Index {
		x, err := ScanColumn(t.Context(), host{fs}, Spec{URI: "base"}, int64(n), func(yield func(k, v string) error) error {
			for i := range n {
				name := fmt.Sprintf("%d.jpg", i)
				if i == n-1 {
					name = last
				}
				if err := yield(fmt.Sprint(i), name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	var se *SourceError
	if err := scan(20_000, "none.jpg").TryPaths(t.Context(), host{fs}); !errors.As(err, &se) || !strings.Contains(err.Error(), "base/0.jpg") || se.Hint() == "" {
		t.Errorf("20,000 paths that name nothing: %v", err)
	}
	if n := fs.Count(fault.Fail); n > 200 {
		t.Errorf("%d operations", n)
	}
	if err := scan(20_000, "last.jpg").TryPaths(t.Context(), host{fs}); err != nil {
		t.Errorf("one is there: %v", err)
	}
	if err := scan(999, "none.jpg").TryPaths(t.Context(), host{fs}); err != nil {
		t.Errorf("few paths: %v", err)
	}
}
