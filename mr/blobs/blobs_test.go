package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// put writes a graph and its weights into a store.
func put(t *testing.T, fs dfs.FS, name string, size int) Bundle {
	t.Helper()
	var b Bundle
	for ending, n := range map[string]int{".onnx": 100, ".weights": size} {
		data := bytes.Repeat([]byte(name+ending), n/len(name+ending)+1)[:n]
		sum := sha256.Sum256(data)
		f := File{Name: name + ending, Path: dfs.Path("models/" + name + ending), Bytes: int64(n), SHA256: hex.EncodeToString(sum[:])}
		if err := dfs.WriteFile(t.Context(), fs, f.Path, data); err != nil {
			t.Fatal(err)
		}
		b = append(b, f)
	}
	return b
}

func get(t *testing.T, c *Cache, fs dfs.FS, b Bundle) *Held {
	t.Helper()
	h, err := c.Get(t.Context(), fs, b)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, h, b)
	return h
}

func whole(t *testing.T, h *Held, b Bundle) {
	t.Helper()
	if err := verify(t.Context(), h.Dir, b); err != nil {
		t.Error(err)
	}
}

func release(t *testing.T, h *Held) {
	t.Helper()
	if err := h.Release(); err != nil {
		t.Error(err)
	}
}

func names(t *testing.T, dir string) int {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(slices.DeleteFunc(all, func(e os.DirEntry) bool { return e.Name() == guardName }))
}

func TestFetchedOnce(t *testing.T) {
	under := mem.New()
	b := put(t, under, "a", 10_000)
	fs, dir := fault.New(under, fault.Options{}), t.TempDir()
	c := New(filepath.Join(dir, "made", "here"), 1<<20)
	first := get(t, c, fs, b)
	release(t, get(t, c, fs, b))
	again := get(t, New(c.dir, 1<<20), fs, b) // another process
	if n := fs.CountOp(fault.Open); n != 2 {
		t.Errorf("%d files were opened, want 2", n)
	}
	if again.Dir != first.Dir || again.Path("a.onnx") != filepath.Join(first.Dir, "a.onnx") {
		t.Errorf("%s and %s", first.Dir, again.Dir)
	}
	release(t, first)
	release(t, again)
	if left := fs.Leaks(); len(left) > 0 {
		t.Error(left)
	}
}

// Whatever happens to a file on the local disk is noticed the next time, and mended.
func TestDamageHereIsMended(t *testing.T) {
	fs, c := mem.New(), New(t.TempDir(), 1<<20)
	b := put(t, fs, "a", 5000)
	h := get(t, c, fs, b)
	release(t, h)
	for what, damage := range map[string]func(string) error{
		"flipped": func(p string) error {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 4
			return os.WriteFile(p, data, 0o666)
		},
		"cut":     func(p string) error { return os.Truncate(p, 10) },
		"gone":    os.Remove,
		"no lock": func(p string) error { return os.Remove(filepath.Join(filepath.Dir(p), lockName)) },
	} {
		t.Run(what, func(t *testing.T) {
			for _, f := range b {
				if err := damage(h.Path(f.Name)); err != nil && what != "no lock" {
					t.Fatal(err)
				}
				release(t, get(t, c, fs, b))
			}
		})
	}
	if n := names(t, c.dir); n != 1 {
		t.Errorf("%d names in the folder, want 1", n)
	}
}

func TestDamageInTheStoreIsRefused(t *testing.T) {
	fs, c := mem.New(), New(t.TempDir(), 1<<20)
	b := put(t, fs, "a", 5000)
	for i := range b {
		bad := append(Bundle{}, b...)
		other := sha256.Sum256([]byte("other"))
		bad[i].SHA256 = hex.EncodeToString(other[:])
		if _, err := c.Get(t.Context(), fs, bad); !errs.Is(err, errs.Corrupt) {
			t.Errorf("another digest: %v", err)
		}
		bad = append(Bundle{}, b...)
		bad[i].Bytes--
		if _, err := c.Get(t.Context(), fs, bad); !errs.Is(err, errs.Corrupt) {
			t.Errorf("another length: %v", err)
		}
		bad = append(Bundle{}, b...)
		bad[i].Path = "models/none"
		if _, err := c.Get(t.Context(), fs, bad); !errs.Is(err, errs.NotExist) {
			t.Errorf("an absent file: %v", err)
		}
	}
	if n := names(t, c.dir); n != 0 {
		t.Errorf("%d names are left", n)
	}
}

// Specifications come over the network: nothing in them may lead out of the folder.
func TestHostileBundles(t *testing.T) {
	fs, c := mem.New(), New(t.TempDir(), 1<<20)
	good := put(t, fs, "a", 100)
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/b", lockName} {
		bad := append(Bundle{}, good...)
		bad[0].Name = name
		if _, err := c.Get(t.Context(), fs, bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	twice := append(Bundle{}, good...)
	twice[1].Name = twice[0].Name
	digest := append(Bundle{}, good...)
	digest[0].SHA256 = "../../x"
	for _, b := range []Bundle{nil, twice, digest} {
		if _, err := c.Get(t.Context(), fs, b); !errs.Is(err, errs.Invalid) {
			t.Errorf("%v: %v", b, err)
		}
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	fs, c := mem.New(), New(t.TempDir(), 25_000)
	now := time.Now()
	var all []Bundle
	for i, name := range []string{"a", "b", "c", "d"} {
		all = append(all, put(t, fs, name, 10_000))
		h := get(t, c, fs, all[i])
		at := now.Add(time.Duration(i-100) * time.Minute)
		if i == 0 { // it was used again, later than b
			at = now.Add(-time.Minute)
		}
		if err := os.Chtimes(h.Path(lockName), at, at); err != nil {
			t.Fatal(err)
		}
		release(t, h)
	}
	for i, want := range []bool{true, false, false, true} {
		_, err := os.Stat(filepath.Join(c.dir, prefix+all[i].Digest()[:32]))
		if (err == nil) != want {
			t.Errorf("bundle %d is there: %v, want %v", i, err == nil, want)
		}
	}
}

func TestHeldStays(t *testing.T) {
	fs, dir := mem.New(), t.TempDir()
	a := put(t, fs, "a", 10_000)
	h := get(t, New(dir, 1), fs, a) // larger than the whole limit, and yet it can be had
	c := New(dir, 1)
	for _, name := range []string{"b", "c"} {
		release(t, get(t, c, fs, put(t, fs, name, 10_000)))
	}
	whole(t, h, a)
	release(t, h)
	release(t, get(t, c, fs, put(t, fs, "d", 100)))
	if _, err := os.Stat(h.Dir); err == nil {
		t.Error("what was let go of is still there")
	}
}

func TestAbandonedGoes(t *testing.T) {
	fs, c := mem.New(), New(t.TempDir(), 1<<20)
	old, young := filepath.Join(c.dir, newPrefix+"1"), filepath.Join(c.dir, newPrefix+"2")
	for _, d := range []string{old, young} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(old, at, at); err != nil {
		t.Fatal(err)
	}
	release(t, get(t, c, fs, put(t, fs, "a", 100)))
	if _, err := os.Stat(old); err == nil {
		t.Error("what was abandoned is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}

// Several processes want several bundles of which only a few have room. (A lock belongs to an open file, so
// caches in one process are to each other what those of several are.)
func TestManyAtOnce(t *testing.T) {
	manyAtOnce(t, func(_ int, h *Held, b Bundle) { whole(t, h, b) })
}

// Meanwhile somebody damages what is there, so that all fetch and remove it again and again.
func TestManyAtOnceWithDamage(t *testing.T) {
	manyAtOnce(t, func(i int, h *Held, b Bundle) {
		if i%5 == 0 {
			_ = os.Remove(h.Path(b[0].Name)) // another one may have done so
		}
	})
}

func manyAtOnce(t *testing.T, then func(i int, h *Held, b Bundle)) {
	fs, dir := mem.New(), t.TempDir()
	var all []Bundle
	for i := range 4 {
		all = append(all, put(t, fs, fmt.Sprint("m", i), 20_000))
	}
	var wg sync.WaitGroup
	for p := range 6 {
		c := New(dir, 45_000)
		for g := range 2 {
			wg.Go(func() {
				for i := range 30 {
					b := all[(p+g+i)%len(all)]
					h, err := c.Get(t.Context(), fs, b)
					if err != nil {
						t.Error(err)
						return
					}
					then(i, h, b)
					if err := h.Release(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, b := range all {
		release(t, get(t, New(dir, 1<<20), fs, b))
	}
	if n := names(t, dir); n != len(all) {
		t.Errorf("%d names are left, want %d", n, len(all))
	}
}

func TestCanceled(t *testing.T) {
	fs, c := mem.New(), New(t.TempDir(), 1<<20)
	b := put(t, fs, "a", 1000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, fs, b); !errs.Is(err, errs.Canceled) {
		t.Errorf("nothing is here: %v", err)
	}
	release(t, get(t, c, fs, b))
	if _, err := c.Get(ctx, fs, b); !errs.Is(err, errs.Canceled) {
		t.Errorf("it is here: %v", err)
	}
	if n := names(t, c.dir); n != 1 {
		t.Errorf("%d names are left", n)
	}
}

// TestFetchingMoves: whoever fetches tells of each piece, and one who waits for the same bundle tells that the other goes on.
func TestFetchingMoves(t *testing.T) {
	under := mem.New()
	b := put(t, under, "a", 10_000)
	c := New(t.TempDir(), 1<<20)
	var first, second atomic.Int64
	got := make(chan error, 1)
	get := func(ctx context.Context) {
		h, err := c.Get(Watched(ctx, func() { second.Add(1) }), under, b)
		if err == nil {
			err = h.Release()
		}
		got <- err
	}
	ctx, done, err := c.alone(Watched(t.Context(), func() { first.Add(1) }), b.Digest())
	if err != nil {
		t.Fatal(err)
	}
	go get(t.Context())
	for second.Load() == 0 { // which the other does not begin to read
		if err := fetchFile(ctx, under, b[0], filepath.Join(t.TempDir(), "x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if first.Load() < second.Load() {
		t.Errorf("the one that waits moved %d times, the other %d", second.Load(), first.Load())
	}
	stopped, cancel := context.WithCancel(t.Context())
	go get(stopped)
	cancel()
	if err := <-got; !errs.Is(err, errs.Canceled) {
		t.Errorf("one that has waited and was cancelled: %v", err)
	}
	done()
	before := second.Load()
	if err := <-got; err != nil || second.Load() < before+int64(len(b)) {
		t.Errorf("%v, moved %d times for %d files", err, second.Load()-before, len(b))
	}
}
