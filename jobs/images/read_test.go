package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestWhatIsNotWantedIsNotRead(t *testing.T) {
	var reads atomic.Int64
	h := newDisk(t, map[string][]byte{"a.tar": tarFile(t, member{"a.jpg", "1", 0}, member{"b.jpg", strings.Repeat("b", 100<<10), 0}, member{"c.jpg", "3", 0})})
	x := scan(t, h, Spec{URI: "a.tar"})
	h.fs = disk{h.fs, "mem", &reads}
	var got []string
	for m, err := range x.All(t.Context(), h, func(k []byte) bool { return string(k) != "b" }) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, describe(&m))
	}
	if want := []string{"(a=1)", "(b=)", "(c=3)"}; !slices.Equal(got, want) || reads.Load() != 2 {
		t.Errorf("got %q in %d reads, want %q in 2: one on either side of what is too far to read along", got, reads.Load(), want)
	}
}

func TestNeighboursAreReadTogether(t *testing.T) {
	var all []member
	for i := range 200 {
		all = append(all, member{fmt.Sprintf("%03d.jpg", i), strings.Repeat("x", 2000), 0})
	}
	h := newDisk(t, map[string][]byte{"a.tar": tarFile(t, all...)})
	x := scan(t, h, Spec{URI: "a.tar"})
	var reads atomic.Int64
	h.fs = disk{h.fs, "mem", &reads}
	n := 0
	for _, err := range x.All(t.Context(), h, func([]byte) bool { return true }) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 200 || reads.Load() > 2 {
		t.Errorf("%d images in %d reads", n, reads.Load())
	}
}

func TestFilesThatChangeAfterPlanning(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"longer":  func(b []byte) []byte { return append(b, 0) },
		"shorter": func(b []byte) []byte { return b[:len(b)-1] },
	} {
		b := tarFile(t, member{"a.jpg", "1", 0})
		h := newDisk(t, map[string][]byte{"a.tar": b})
		x := scan(t, h, Spec{URI: "a.tar"})
		h = newDisk(t, map[string][]byte{"a.tar": change(slices.Clone(b))})
		for _, err := range x.All(t.Context(), h, func([]byte) bool { return true }) {
			var e *errs.Error
			if !errors.As(err, &e) || e.ErrorID() != "E-IMAGES-CHANGED" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// A damaged page costs its images, not the job.
	data, err := os.ReadFile("testdata/lz4.parquet")
	if err != nil {
		t.Fatal(err)
	}
	h := newDisk(t, map[string][]byte{"f": data})
	x := scan(t, h, Spec{URI: "f"})
	u := x.units[x.entries[0].unit]
	for i := range u.Packed.Stored {
		data[u.Packed.At+i] = 0xff
	}
	h = newDisk(t, map[string][]byte{"f": data})
	if got := found(t, h, x, 2); len(got) != 40 || got[0] != "(k0!damaged)" || got[39] != "(k39!damaged)" {
		t.Errorf("%q", got)
	}
}

func TestStoreErrorsEndTheReading(t *testing.T) {
	h := newDisk(t, map[string][]byte{"r/a.jpg": []byte("x"), "r/b.jpg": []byte("y"), "r/c.jpg": []byte("z")})
	x := scan(t, h, Spec{URI: "r"})
	h.fs = failing{h.fs, "r/b.jpg", errs.Transient}
	var got []string
	var last error
	for m, err := range x.All(t.Context(), h, func([]byte) bool { return true }) {
		if last = err; err == nil {
			got = append(got, describe(&m))
		}
	}
	if !slices.Equal(got, []string{"(a=x)"}) || !errs.Is(last, errs.Transient) {
		t.Errorf("%q, then %v", got, last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range x.All(ctx, h, func([]byte) bool { return true }) {
		cancel()
		last = err
	}
	if last == nil {
		t.Error("a canceled reading ends without an error")
	}
}

// A file that shrinks while it is read is one bad image; an archive that does was planned as another.
func TestFilesThatShrinkWhileTheyAreRead(t *testing.T) {
	h := newDisk(t, map[string][]byte{"r/a.jpg": []byte("x"), "r/b.jpg": []byte("yy"), "r/c.jpg": []byte("z")})
	x := scan(t, h, Spec{URI: "r"})
	h.fs = shrinking{h.fs, "r/b.jpg"}
	if got, want := found(t, h, x, 1), []string{"(a=x)", "(b!damaged)", "(c=z)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	h = newDisk(t, map[string][]byte{"a.tar": tarFile(t, member{"a.jpg", "1", 0})})
	x = scan(t, h, Spec{URI: "a.tar"})
	h.fs = shrinking{h.fs, "a.tar"}
	for _, err := range x.All(t.Context(), h, func([]byte) bool { return true }) {
		var e *errs.Error
		if !errors.As(err, &e) || e.ErrorID() != "E-IMAGES-CHANGED" {
			t.Error(err)
		}
	}
}

// shrinking has a file of which nothing is left when it is read.
type shrinking struct {
	dfs.FS
	path dfs.Path
}

func (s shrinking) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	f, err := s.FS.Open(ctx, p)
	if p == s.path && err == nil {
		f = empty{f}
	}
	return f, err
}

type empty struct{ dfs.File }

func (empty) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// A file that may not be read is one bad image on this machine, and everybody's trouble in a store with one identity.
func TestNoPermission(t *testing.T) {
	for name, want := range map[string]string{"local": "(a=x) (b!no-permission) (c=z)", "s3": "(a=x) error"} {
		h := newDisk(t, map[string][]byte{"r/a.jpg": []byte("x"), "r/b.jpg": []byte("y"), "r/c.jpg": []byte("z")})
		x := scan(t, h, Spec{URI: "r"})
		h.fs = failing{disk{h.fs, name, nil}, "r/b.jpg", errs.Unauthorized}
		var got []string
		for m, err := range x.All(t.Context(), h, func([]byte) bool { return true }) {
			switch {
			case errs.Is(err, errs.Unauthorized):
				got = append(got, "error")
			case err != nil:
				t.Fatal(err)
			default:
				got = append(got, describe(&m))
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", name, s, want)
		}
	}
}

type failing struct {
	dfs.FS
	path dfs.Path
	kind errs.Kind
}

func (f failing) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	if p == f.path {
		return nil, errs.E("open", f.kind, string(p), nil)
	}
	return f.FS.Open(ctx, p)
}

// TestWantIsAskedOnce: whoever takes each fourth image gets each fourth.
func TestWantIsAskedOnce(t *testing.T) {
	files := map[string][]byte{}
	for i := range 40 {
		files[fmt.Sprintf("f/%02d.jpg", i)] = []byte(image(i))
	}
	h := newDisk(t, files)
	x := scan(t, h, Spec{URI: "f"})
	asked, read := 0, 0
	for m, err := range x.All(t.Context(), h, func([]byte) bool { asked++; return asked%4 == 1 }) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Data != nil {
			read++
		}
	}
	if asked != 40 || read != 10 {
		t.Errorf("asked %d times about 40 images, and read %d", asked, read)
	}
}
