// Package dfstest is the suite that every dfs adapter must pass, real HDFS and S3 servers
// included. It says in code what the comments of package dfs say in words.
//
// Invariant: what the suite does not check, the engine may not rely on; and nothing is
// forgiven: a difference between stores that is tolerated is a field of dfs.Caps.
//
// An adapter's test calls Run with a Case, its benchmark calls Bench. Tests of stores that
// need a server call Missing when it is not there, so that a skip can be made a failure.
//
// It does not check what a crash leaves: that needs knowledge of the adapter.
package dfstest

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// RequireVar names the environment variable that lists, separated by commas, the stores whose
// tests must run.
const RequireVar = "VISTA_REQUIRE"

// Missing skips a test whose store is not to be had, or fails it when RequireVar lists the
// store's name or "all".
func Missing(t testing.TB, store, why string) {
	t.Helper()
	if required(os.Getenv(RequireVar), store) {
		t.Fatalf("%s asks for %s: %s", RequireVar, store, why)
	}
	t.Skipf("no %s: %s", store, why)
}

func required(list, store string) bool {
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == store || s == "all" {
			return true
		}
	}
	return false
}

// Case is one adapter under test.
type Case struct {
	// New returns an empty file system and cleans up after the test.
	New func(t testing.TB) dfs.FS
	// Other returns a second client of the same store, as another process would have it; nil:
	// the store cannot be shared.
	Other func(t testing.TB, fs dfs.FS) dfs.FS
	// Many is the number of files of the largest folder; 0: 2,000.
	Many int
	// Big is the size of the largest file in bytes; 0: 9 MiB and 3 bytes, which is more than
	// one part of a multipart upload.
	Big int64
	// Racers is the number of goroutines that race for a name; 0: 16.
	Racers int
}

func (c Case) filled() Case {
	if c.Many == 0 {
		c.Many = 2000
	}
	if c.Big == 0 {
		c.Big = 9<<20 + 3
	}
	if c.Racers == 0 {
		c.Racers = 16
	}
	return c
}

// check is one case of the suite.
type check struct {
	name string
	run  func(t *testing.T, c Case, fs dfs.FS)
}

var suite = slices.Concat(visibility, races, reading, listing, naming, canceling)

// Run runs the suite, each case on a file system of its own.
func Run(t *testing.T, c Case) {
	c = c.filled()
	for _, k := range suite {
		t.Run(k.name, func(t *testing.T) { k.run(t, c, c.New(t)) })
	}
}

// want reports an error whose kind is not the one wanted.
func want(t *testing.T, what string, err error, kind errs.Kind) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Errorf("%s: got %v (kind %v), want kind %v", what, err, errs.KindOf(err), kind)
	}
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func write(t testing.TB, fs dfs.FS, p dfs.Path, data []byte) {
	t.Helper()
	must(t, "write "+string(p), dfs.WriteFile(t.Context(), fs, p, data))
}

func wantContent(t *testing.T, fs dfs.FS, p dfs.Path, data []byte) {
	t.Helper()
	got, err := dfs.ReadFile(t.Context(), fs, p, 1<<30)
	if err != nil {
		t.Errorf("read %s: %v", p, err)
		return
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%s: got %d bytes, want %d bytes, or others", p, len(got), len(data))
	}
	info, err := fs.Stat(t.Context(), p)
	if err != nil || info.Size != int64(len(data)) || info.Path != p {
		t.Errorf("stat %s: got %+v, %v; want %d bytes", p, info, err, len(data))
	}
}

// wantAbsent checks that no operation sees p.
func wantAbsent(t *testing.T, fs dfs.FS, p dfs.Path) {
	t.Helper()
	f, err := fs.Open(t.Context(), p)
	want(t, "open "+string(p), err, errs.NotExist)
	if err == nil {
		_ = f.Close() // the test has failed already
	}
	_, err = fs.Stat(t.Context(), p)
	want(t, "stat "+string(p), err, errs.NotExist)
	if slices.Contains(paths(t, fs, p.Dir()), p) {
		t.Errorf("the listing shows %s", p)
	}
}

func paths(t testing.TB, fs dfs.FS, dir dfs.Path) []dfs.Path {
	t.Helper()
	out := []dfs.Path{}
	for info, err := range fs.List(t.Context(), dir) {
		if err != nil {
			t.Fatalf("list %q: %v", dir, err)
		}
		out = append(out, info.Path)
	}
	return out
}

func wantList(t *testing.T, fs dfs.FS, dir dfs.Path, files ...dfs.Path) {
	t.Helper()
	if got := paths(t, fs, dir); !slices.Equal(got, files) {
		t.Errorf("list %q:\ngot  %q\nwant %q", dir, got, files)
	}
}

// claimMany claims n names from several goroutines.
func claimMany(t *testing.T, fs dfs.FS, n int, name func(i int) dfs.Path) {
	t.Helper()
	var wg sync.WaitGroup
	const workers = 8
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := fs.Claim(t.Context(), name(i)); err != nil {
					t.Errorf("claim: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// pattern returns n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}
