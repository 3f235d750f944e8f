package dfstest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// visibility: a file is there complete or not at all, and a name is used once.
var visibility = []check{
	{"empty store", func(t *testing.T, _ Case, fs dfs.FS) {
		wantList(t, fs, "")
		wantList(t, fs, "no/such/folder")
		wantAbsent(t, fs, "a")
		wantAbsent(t, fs, "a/b")
		must(t, "remove of what is absent", fs.Remove(t.Context(), "a"))
		must(t, "remove in an absent folder", fs.Remove(t.Context(), "a/b/c"))
		must(t, "remove below an absent folder", dfs.RemoveAll(t.Context(), fs, "a"))
		if c := fs.Caps(); c.Name == "" || c.MaxObject < 0 {
			t.Errorf("caps %+v", c)
		}
	}},
	{"create, write, commit", func(t *testing.T, _ Case, fs dfs.FS) {
		data := pattern(70_000)
		w, err := fs.Create(t.Context(), "job/map/part-0")
		must(t, "create", err)
		wantAbsent(t, fs, "job/map/part-0")
		buf := make([]byte, 4096)
		for rest := data; len(rest) > 0; {
			n := copy(buf, rest)
			rest = rest[n:]
			if m, err := w.Write(buf[:n]); m != n || err != nil {
				t.Fatalf("write: %d, %v; want %d", m, err, n)
			}
			clear(buf) // the caller's buffer is the caller's
		}
		if n, err := w.Write(nil); n != 0 || err != nil {
			t.Errorf("write of nothing: %d, %v", n, err)
		}
		wantAbsent(t, fs, "job/map/part-0")
		wantList(t, fs, "")
		must(t, "commit", w.Commit(t.Context()))
		wantContent(t, fs, "job/map/part-0", data)
		wantList(t, fs, "", "job/map/part-0")
		must(t, "abort after commit", w.Abort())
		wantContent(t, fs, "job/map/part-0", data)
		_, err = w.Write([]byte("x"))
		want(t, "write after commit", err, errs.Internal)
		want(t, "second commit", w.Commit(t.Context()), errs.Internal)
		wantContent(t, fs, "job/map/part-0", data)
	}},
	{"empty file", func(t *testing.T, _ Case, fs dfs.FS) {
		w, err := fs.Create(t.Context(), "empty")
		must(t, "create", err)
		must(t, "commit", w.Commit(t.Context()))
		wantContent(t, fs, "empty", nil)
		wantList(t, fs, "", "empty")
	}},
	{"abort", func(t *testing.T, _ Case, fs dfs.FS) {
		w, err := fs.Create(t.Context(), "a/b")
		must(t, "create", err)
		_, err = w.Write(pattern(10_000))
		must(t, "write", err)
		must(t, "abort", w.Abort())
		wantAbsent(t, fs, "a/b")
		must(t, "second abort", w.Abort())
		_, err = w.Write([]byte("x"))
		want(t, "write after abort", err, errs.Internal)
		want(t, "commit after abort", w.Commit(t.Context()), errs.Internal)
		wantAbsent(t, fs, "a/b")
		write(t, fs, "a/b", []byte("other"))
		wantContent(t, fs, "a/b", []byte("other"))
	}},
	{"interrupted writer", func(t *testing.T, _ Case, fs dfs.FS) {
		w, err := fs.Create(t.Context(), "a/b")
		must(t, "create", err)
		_, err = w.Write(pattern(100_000))
		must(t, "write", err)
		// Its owner is gone. Another attempt may even use the same name.
		wantAbsent(t, fs, "a/b")
		write(t, fs, "a/b", []byte("other"))
		wantContent(t, fs, "a/b", []byte("other"))
		want(t, "commit of the interrupted writer", w.Commit(t.Context()), errs.Exist)
		wantContent(t, fs, "a/b", []byte("other"))
		must(t, "abort", w.Abort())
		wantList(t, fs, "", "a/b")
	}},
	{"names are used once", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a/b", []byte("first"))
		want(t, "second write", dfs.WriteFile(t.Context(), fs, "a/b", []byte("second")), errs.Exist)
		want(t, "write of the same bytes", dfs.WriteFile(t.Context(), fs, "a/b", []byte("first")), errs.Exist)
		want(t, "claim of a file", fs.Claim(t.Context(), "a/b"), errs.Exist)
		wantContent(t, fs, "a/b", []byte("first"))
		must(t, "claim", fs.Claim(t.Context(), "a/c"))
		want(t, "second claim", fs.Claim(t.Context(), "a/c"), errs.Exist)
		want(t, "write over a claim", dfs.WriteFile(t.Context(), fs, "a/c", []byte("second")), errs.Exist)
		wantContent(t, fs, "a/c", nil)
		wantList(t, fs, "a", "a/b", "a/c")
	}},
	{"remove", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a/b", []byte("1"))
		write(t, fs, "a/c", []byte("2"))
		must(t, "remove", fs.Remove(t.Context(), "a/b"))
		wantAbsent(t, fs, "a/b")
		must(t, "remove again", fs.Remove(t.Context(), "a/b"))
		must(t, "remove of a folder, which is no file", fs.Remove(t.Context(), "a"))
		must(t, "remove below a file", fs.Remove(t.Context(), "a/c/d"))
		wantList(t, fs, "", "a/c")
		write(t, fs, "a/b", []byte("3"))
		wantContent(t, fs, "a/b", []byte("3"))
	}},
	{"remove the last file of a folder", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a/b/c", []byte("1"))
		must(t, "remove", fs.Remove(t.Context(), "a/b/c"))
		must(t, "remove of the empty folder", fs.Remove(t.Context(), "a/b"))
		wantList(t, fs, "")
		wantAbsent(t, fs, "a/b")
		write(t, fs, "a/b/c", []byte("2"))
		wantContent(t, fs, "a/b/c", []byte("2"))
	}},
	{"remove of a folder that a writer is in", func(t *testing.T, _ Case, fs dfs.FS) {
		w, err := fs.Create(t.Context(), "a/b/c")
		must(t, "create", err)
		for _, p := range []dfs.Path{"a/b", "a"} {
			must(t, "remove of the folder", fs.Remove(t.Context(), p))
		}
		must(t, "commit", w.Commit(t.Context()))
		wantContent(t, fs, "a/b/c", nil)
	}},
	{"remove all", func(t *testing.T, _ Case, fs dfs.FS) {
		for _, p := range []dfs.Path{"a/1", "a/2/3", "a/2/4/5", "ab", "b/1"} {
			write(t, fs, p, []byte("x"))
		}
		must(t, "remove all", dfs.RemoveAll(t.Context(), fs, "a"))
		wantList(t, fs, "", "ab", "b/1")
		must(t, "remove all again", dfs.RemoveAll(t.Context(), fs, "a"))
	}},
	{"folders are not files", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a/b/c", []byte("x"))
		wantAbsent(t, fs, "a")
		wantAbsent(t, fs, "a/b")
		wantAbsent(t, fs, "a/b/c/d")
	}},
	{"second client", func(t *testing.T, c Case, fs dfs.FS) {
		if c.Other == nil {
			return
		}
		other := c.Other(t, fs)
		for i := range 20 {
			p := dfs.Path(fmt.Sprintf("job/part-%02d", i))
			w, err := fs.Create(t.Context(), p)
			must(t, "create", err)
			_, err = w.Write(pattern(i * 100))
			must(t, "write", err)
			wantAbsent(t, other, p)
			must(t, "commit", w.Commit(t.Context()))
			wantContent(t, other, p, pattern(i*100))
			if n := len(paths(t, other, "job")); n != i+1 {
				t.Errorf("after commit %d the other client lists %d files", i, n)
			}
			want(t, "claim by the other", other.Claim(t.Context(), p), errs.Exist)
		}
		must(t, "remove by the other", other.Remove(t.Context(), "job/part-00"))
		wantAbsent(t, fs, "job/part-00")
	}},
}

// races: of any number that want a name, one gets it.
var races = []check{
	{"racing claims", func(t *testing.T, c Case, fs dfs.FS) {
		race(t, c, fs, func(fs dfs.FS, p dfs.Path, _ int) error { return fs.Claim(t.Context(), p) },
			func(int) []byte { return nil })
	}},
	{"racing commits", func(t *testing.T, c Case, fs dfs.FS) {
		content := func(racer int) []byte { return pattern(5000 + racer) }
		race(t, c, fs, func(fs dfs.FS, p dfs.Path, racer int) error {
			return dfs.WriteFile(t.Context(), fs, p, content(racer))
		}, content)
	}},
	{"racing claims and commits", func(t *testing.T, c Case, fs dfs.FS) {
		content := func(racer int) []byte { return pattern(5000 * (racer % 2)) }
		race(t, c, fs, func(fs dfs.FS, p dfs.Path, racer int) error {
			if racer%2 == 0 {
				return fs.Claim(t.Context(), p)
			}
			return dfs.WriteFile(t.Context(), fs, p, content(racer))
		}, content)
	}},
	{"many writers in new folders", func(t *testing.T, c Case, fs dfs.FS) {
		var wg sync.WaitGroup
		name := func(i int) dfs.Path { return dfs.Path(fmt.Sprintf("job/phase/%d/deep/er/part-%03d", i%3, i)) }
		for i := range 4 * c.Racers {
			wg.Go(func() {
				if err := dfs.WriteFile(t.Context(), fs, name(i), pattern(i)); err != nil {
					t.Errorf("write %s: %v", name(i), err)
				}
			})
		}
		wg.Wait()
		for i := range 4 * c.Racers {
			wantContent(t, fs, name(i), pattern(i))
		}
		if n := len(paths(t, fs, "job")); n != 4*c.Racers {
			t.Errorf("%d files, want %d", n, 4*c.Racers)
		}
	}},
}

// race lets racers take a name, on two clients where there are two, and checks that one has
// won and that the file is the winner's.
func race(t *testing.T, c Case, fs dfs.FS, take func(fs dfs.FS, p dfs.Path, racer int) error, content func(racer int) []byte) {
	clients := []dfs.FS{fs}
	if c.Other != nil {
		clients = append(clients, c.Other(t, fs))
	}
	for round := range 10 {
		p := dfs.Path(fmt.Sprintf("race/round-%d", round))
		result := make([]error, c.Racers)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range c.Racers {
			wg.Go(func() {
				<-start
				result[i] = take(clients[i/2%len(clients)], p, i)
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for i, err := range result {
			switch {
			case err != nil:
				want(t, fmt.Sprintf("round %d, racer %d", round, i), err, errs.Exist)
			case winner >= 0:
				t.Errorf("round %d: racers %d and %d have both won", round, winner, i)
			default:
				winner = i
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody has won", round)
		}
		wantContent(t, fs, p, content(winner))
	}
}
