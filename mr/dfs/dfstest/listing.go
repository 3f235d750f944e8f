package dfstest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// listing: complete, in order, and never behind.
var listing = []check{
	{"order of the list", func(t *testing.T, _ Case, fs dfs.FS) {
		// Around the slash there are bytes before ('-', '.') and behind ('0') it.
		files := []dfs.Path{"Z", "a-b/c", "a.b", "a/a-b", "a/a.b/x", "a/a/x", "a/a/y", "a/a0", "a/b", "a0/b", "ab", "b", "é", "\u65e5\u672c/x"}
		for i, p := range slices.Backward(files) {
			write(t, fs, p, pattern(i))
		}
		wantList(t, fs, "", files...)
		wantList(t, fs, "a", files[3:9]...)
		wantList(t, fs, "a/a", files[5:7]...)
		wantList(t, fs, "b") // a file
		wantList(t, fs, "b/c")
		i := 0
		for info, err := range fs.List(t.Context(), "") {
			must(t, "list", err)
			if info.Size != int64(i) {
				t.Errorf("%s: %d bytes, want %d", info.Path, info.Size, i)
			}
			i++
		}
	}},
	{"list sees what was written", func(t *testing.T, _ Case, fs dfs.FS) {
		var have []dfs.Path
		for i := range 30 {
			p := dfs.Path(fmt.Sprintf("f/%02d", i))
			if i%3 == 0 {
				must(t, "claim", fs.Claim(t.Context(), p))
			} else {
				write(t, fs, p, pattern(i))
			}
			have = append(have, p)
			if i%5 == 4 {
				must(t, "remove", fs.Remove(t.Context(), have[0]))
				have = have[1:]
			}
			wantList(t, fs, "f", have...)
		}
	}},
	{"list is begun anew and left early", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a/1", nil)
		write(t, fs, "b/2", nil)
		write(t, fs, "b/3", nil)
		seq := fs.List(t.Context(), "")
		for info, err := range seq {
			must(t, "list", err)
			if info.Path != "a/1" {
				t.Errorf("first is %s", info.Path)
			}
			break
		}
		write(t, fs, "c", nil)
		var got []dfs.Path
		for info, err := range seq {
			must(t, "list", err)
			got = append(got, info.Path)
		}
		if want := []dfs.Path{"a/1", "b/2", "b/3", "c"}; !slices.Equal(got, want) {
			t.Errorf("ranged again: %q, want %q", got, want)
		}
	}},
	{"store is used within a listing", func(t *testing.T, _ Case, fs dfs.FS) {
		for i := range 10 {
			write(t, fs, dfs.Path(fmt.Sprintf("f/%d", i)), nil)
		}
		for info, err := range fs.List(t.Context(), "f") {
			must(t, "list", err)
			must(t, "remove", fs.Remove(t.Context(), info.Path)) // no lock may be held meanwhile
		}
		wantList(t, fs, "f")
	}},
	{"many files", func(t *testing.T, c Case, fs dfs.FS) {
		claimMany(t, fs, c.Many, func(i int) dfs.Path { return dfs.Path(fmt.Sprintf("images/%06d.jpg", i)) })
		got := paths(t, fs, "images")
		if len(got) != c.Many || !slices.IsSorted(got) {
			t.Errorf("%d files, sorted %v; want %d in order", len(got), slices.IsSorted(got), c.Many)
		}
	}},
}

// naming: the user's files may have odd names, and hostile ones stay inside.
var naming = []check{
	{"odd names", func(t *testing.T, _ Case, fs dfs.FS) {
		names := []string{"with space", " leading and trailing ", "100%", "%2F", "%2e%2e", "a+b", "what?", "#1", "x&y=z", "semi;colon", "comma,",
			"quote\"s'", "[brackets]", "{braces}", "star*", "tilde~", "$HOME", "back`tick", "at@sign", "!bang", "ümläut", "\u65e5\u672c\u8a9e", "\U0001F600",
			".hidden", "_underscore", "...", "..a", "a..", "-dash", strings.Repeat("long", 50)}
		for i, n := range names {
			write(t, fs, dfs.Path(n), pattern(i))
			write(t, fs, dfs.Path("dir").Join(n, n), pattern(i+1))
		}
		for i, n := range names {
			wantContent(t, fs, dfs.Path(n), pattern(i))
			wantContent(t, fs, dfs.Path("dir").Join(n, n), pattern(i+1))
			wantList(t, fs, dfs.Path("dir").Join(n), dfs.Path("dir").Join(n, n))
		}
		if got := paths(t, fs, ""); len(got) != 2*len(names) || !slices.IsSorted(got) {
			t.Errorf("%d files, sorted %v; want %d in order", len(got), slices.IsSorted(got), 2*len(names))
		}
		for _, n := range names {
			must(t, "remove", fs.Remove(t.Context(), dfs.Path(n)))
			wantAbsent(t, fs, dfs.Path(n))
		}
	}},
	{"paths that are not clean", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a/b", []byte("x"))
		for _, p := range []dfs.Path{"/a", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a\x00b", "/"} {
			all(t, fs, p, wantInvalid)
			wantListInvalid(t, fs, p)
		}
		all(t, fs, "", wantInvalid) // the root is no file
		wantList(t, fs, "", "a/b")
	}},
}
