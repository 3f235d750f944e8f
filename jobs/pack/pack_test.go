package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

// store resolves every URI to one file system.
type store struct{ fs dfs.FS }

func (s store) Resolve(_ context.Context, uri string) (dfs.FS, dfs.Path, error) {
	return s.fs, dfs.Path(strings.Trim(uri, "/")), nil
}

// album writes n records with one to three images each, and returns the images by key, in order.
func album(t testing.TB, fs dfs.FS, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		for k := range i%3 + 1 {
			if err := dfs.WriteFile(t.Context(), fs, dfs.Path(fmt.Sprintf("in/%03d/%d.jpg", i, k)), picture(i, k)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func picture(i, k int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d-%d.", i, k), 50+i%7*100) }

func options(fs dfs.FS, out string) Options {
	return Options{Source: images.Spec{URI: "in", Key: images.Folder}, From: store{fs}, To: fs, Out: dfs.Path(out), OutName: out, shardBytes: 20_000}
}

// content is what lies in a folder.
func content(t testing.TB, fs dfs.FS, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for info, err := range fs.List(t.Context(), dfs.Path(dir)) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := dfs.ReadFile(t.Context(), fs, info.Path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		out[info.Path.Base()] = string(b)
	}
	return out
}

// packed reads all shards with goavro: "key=image" in order.
func packed(t *testing.T, fs dfs.FS, dir string) []string {
	t.Helper()
	all := content(t, fs, dir)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(name, "part-") {
			continue
		}
		r, err := goavro.NewOCFReader(strings.NewReader(all[name]))
		if err != nil {
			t.Fatal(err)
		}
		for r.Scan() {
			v, err := r.Read()
			if err != nil {
				t.Fatal(err)
			}
			m := v.(map[string]any)
			out = append(out, fmt.Sprintf("%s=%s", m["id"], m["image"]))
		}
	}
	return out
}

func wanted(from, n int) []string {
	var out []string
	for i := from; i < from+n; i++ {
		for k := range i%3 + 1 {
			out = append(out, fmt.Sprintf("%03d=%s", i, picture(i, k)))
		}
	}
	return out
}

func TestPackKeepsNamesAndOrder(t *testing.T) {
	fs := mem.New()
	album(t, fs, 0, 80)
	s, err := Run(t.Context(), options(fs, "out"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := packed(t, fs, "out"), wanted(0, 80); !slices.Equal(got, want) {
		t.Errorf("%d images, want %d in order", len(got), len(want))
	}
	if s.Shards < 3 || s.New != s.Shards || s.Records != 80 || s.Images != int64(len(wanted(0, 80))) || s.Packed != s.Images || s.Bad != 0 {
		t.Errorf("%+v", s)
	}
	for name, b := range content(t, fs, "out") {
		if strings.HasPrefix(name, "part-") && (len(b) < 20_000 && name != fmt.Sprintf("part-%05d.avro", s.Shards-1) || len(b) > 40_000) {
			t.Errorf("%s has %d bytes", name, len(b))
		}
	}
	// A job reads the same from the shards as from the folder.
	for _, multiple := range []string{images.First, images.Mean} {
		a := read(t, fs, images.Spec{URI: "in", Key: images.Folder, Multiple: multiple})
		b := read(t, fs, images.Spec{URI: "out", Multiple: multiple})
		if !slices.Equal(a, b) {
			t.Errorf("%s: the shards are read as something else", multiple)
		}
	}
}

func read(t *testing.T, fs dfs.FS, spec images.Spec) []string {
	t.Helper()
	x, err := images.Scan(t.Context(), store{fs}, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for m, err := range x.All(t.Context(), store{fs}, func([]byte) bool { return true }) {
		if err != nil {
			t.Fatal(err)
		}
		cause := ""
		if m.Bad != nil {
			cause = m.Bad.Cause
		}
		out = append(out, fmt.Sprintf("%s %s %s %v %v", m.Key, m.Data, cause, m.First, m.Last))
	}
	return out
}

// TestPackGoesOnAfterAnyFailure fails every operation of the store once: the next run leaves the same bytes as one
// without a failure, and does not write finished shards again.
func TestPackGoesOnAfterAnyFailure(t *testing.T) {
	fs := mem.New()
	album(t, fs, 0, 60)
	if _, err := Run(t.Context(), options(fs, "whole")); err != nil {
		t.Fatal(err)
	}
	want := content(t, fs, "whole")
	for n := 0; ; n++ {
		out := fmt.Sprintf("out-%d", n)
		b := &breaking{FS: fs, left: n}
		o := options(fs, out)
		o.To = b
		_, err := Run(t.Context(), o)
		if !b.broke {
			if err != nil || n < 10 {
				t.Fatalf("after %d operations: %v", n, err)
			}
			break
		}
		if err == nil {
			t.Fatalf("operation %d failed and nobody noticed", n)
		}
		before := content(t, fs, out)
		s, err := Run(t.Context(), options(fs, out))
		if err != nil {
			t.Fatalf("after failure %d: %v", n, err)
		}
		if got := content(t, fs, out); !maps.Equal(got, want) {
			t.Fatalf("after failure %d: %v, want %v", n, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		done := 0
		for name := range before {
			if strings.HasPrefix(name, "part-") {
				done++
			}
		}
		if s.New != s.Shards-done {
			t.Errorf("after failure %d: %d shards were there, %d of %d were written", n, done, s.New, s.Shards)
		}
	}
}

// breaking fails one operation, and all that follow, as a process that is killed does.
type breaking struct {
	dfs.FS
	left  int
	broke bool
}

var errKilled = errors.New("killed")

func (b *breaking) fails() bool {
	b.left--
	b.broke = b.broke || b.left < 0
	return b.broke
}

func (b *breaking) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	if b.fails() {
		return nil, errKilled
	}
	w, err := b.FS.Create(ctx, p)
	return breakingWriter{w, b}, err
}

func (b *breaking) Remove(ctx context.Context, p dfs.Path) error {
	if b.fails() {
		return errKilled
	}
	return b.FS.Remove(ctx, p)
}

type breakingWriter struct {
	dfs.Writer
	b *breaking
}

func (w breakingWriter) Write(p []byte) (int, error) {
	if w.b.fails() {
		return 0, errKilled
	}
	return w.Writer.Write(p)
}

func (w breakingWriter) Commit(ctx context.Context) error {
	if w.b.fails() {
		return errKilled
	}
	return w.Writer.Commit(ctx)
}

func TestPackAddsWhatIsNew(t *testing.T) {
	fs := mem.New()
	album(t, fs, 20, 20)
	if _, err := Run(t.Context(), options(fs, "out")); err != nil {
		t.Fatal(err)
	}
	first := content(t, fs, "out")
	again, err := Run(t.Context(), options(fs, "out"))
	if err != nil || again.New != 0 || again.Packed != 0 || again.Before != int64(len(wanted(20, 20))) {
		t.Fatalf("%+v, %v", again, err)
	}
	if !maps.Equal(first, content(t, fs, "out")) {
		t.Error("a run without new images has changed something")
	}
	album(t, fs, 0, 20)
	album(t, fs, 40, 5)
	s, err := Run(t.Context(), options(fs, "out"))
	if err != nil || s.Records != 45 || s.Before != int64(len(wanted(20, 20))) || s.Packed != int64(len(wanted(0, 20))+len(wanted(40, 5))) {
		t.Fatalf("%+v, %v", s, err)
	}
	now := content(t, fs, "out")
	for name, b := range first {
		if strings.HasPrefix(name, "part-") && now[name] != b {
			t.Errorf("%s was written again", name)
		}
	}
	got := packed(t, fs, "out")
	if want := slices.Concat(wanted(20, 20), wanted(0, 20), wanted(40, 5)); !slices.Equal(got, want) {
		t.Errorf("%d images, want %d, those that are new behind the others", len(got), len(want))
	}
}

func TestLookupTakesTwoReads(t *testing.T) {
	fs := mem.New()
	album(t, fs, 0, 300)
	if _, err := Run(t.Context(), options(fs, "out")); err != nil {
		t.Fatal(err)
	}
	reads := 0
	l, err := OpenLookup(t.Context(), counted{fs, &reads}, "out")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 300 {
		reads = 0
		got, err := l.Get(t.Context(), fmt.Sprintf("%03d", i))
		if err != nil || len(got) != i%3+1 || reads != 2 {
			t.Fatalf("%d: %d images in %d reads, %v", i, len(got), reads, err)
		}
		for k := range got {
			if !bytes.Equal(got[k], picture(i, k)) {
				t.Errorf("image %d of %d is another", k, i)
			}
		}
	}
	reads = 0
	if got, err := l.Get(t.Context(), "nobody"); len(got) != 0 || err != nil || reads != 1 {
		t.Errorf("%d images in %d reads, %v", len(got), reads, err)
	}
}

type counted struct {
	dfs.FS
	reads *int
}

func (c counted) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	f, err := c.FS.Open(ctx, p)
	return countedFile{f, c.reads}, err
}

type countedFile struct {
	dfs.File
	reads *int
}

func (c countedFile) ReadAt(b []byte, at int64) (int, error) {
	*c.reads++
	return c.File.ReadAt(b, at)
}

func TestLookupOfMany(t *testing.T) {
	var all []place
	for i := range 20_000 {
		all = append(all, place{key: fmt.Sprint("key-", i), shard: i / 1000, at: int64(i), size: 7})
	}
	b := encodeLookup(all)
	if !bytes.Equal(b, encodeLookup(all)) {
		t.Error("the same places give other bytes")
	}
	if len(b) > 20_000*4096/30 {
		t.Errorf("%d bytes for 20,000 keys", len(b))
	}
}

func TestDamagedLookup(t *testing.T) {
	fs := mem.New()
	album(t, fs, 0, 5)
	if _, err := Run(t.Context(), options(fs, "out")); err != nil {
		t.Fatal(err)
	}
	name := dfs.Path("out/" + images.LookupName(1))
	b, err := dfs.ReadFile(t.Context(), fs, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 5, 20, 30, 4095} {
		bad := slices.Clone(b)
		bad[at] ^= 0x10
		if err := errors.Join(fs.Remove(t.Context(), name), dfs.WriteFile(t.Context(), fs, name, bad)); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLookup(t.Context(), fs, "out")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Get(t.Context(), "003"); err == nil {
			t.Errorf("a flipped bit at %d is not noticed", at)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFoldersThatAreNotOursAreLeftAlone(t *testing.T) {
	for name, file := range map[string]string{"something else": "out/data.txt", "other shards": "out/part-00000.avro", "below": "out/x/y", "a hole": ""} {
		fs := mem.New()
		album(t, fs, 0, 60)
		if file == "" {
			if _, err := Run(t.Context(), options(fs, "out")); err != nil {
				t.Fatal(err)
			}
			if err := fs.Remove(t.Context(), "out/part-00000.avro"); err != nil {
				t.Fatal(err)
			}
		} else if err := dfs.WriteFile(t.Context(), fs, dfs.Path(file), []byte("x")); err != nil {
			t.Fatal(err)
		}
		before := content(t, fs, "out")
		_, err := Run(t.Context(), options(fs, "out"))
		var oe *OutputError
		if !errors.As(err, &oe) || oe.ErrorID() != "E-PACK-OUTPUT" || oe.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		if !maps.Equal(before, content(t, fs, "out")) {
			t.Errorf("%s: something was written", name)
		}
	}
	fs := mem.New()
	album(t, fs, 0, 1)
	if _, err := Run(t.Context(), options(fs, "in/packed")); err == nil || !strings.Contains(err.Error(), "lies within") {
		t.Errorf("within the source: %v", err)
	}
}

func TestImagesThatCannotBeHadAreListed(t *testing.T) {
	fs := mem.New()
	album(t, fs, 0, 3)
	if err := dfs.WriteFile(t.Context(), fs, "in/000/huge.jpg", make([]byte, images.MaxImage+1)); err != nil {
		t.Fatal(err)
	}
	s, err := Run(t.Context(), options(fs, "out"))
	if err != nil || s.Bad != 1 || len(s.Left) != 1 || s.Left[0].Cause != "too-large" || s.Records != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}
