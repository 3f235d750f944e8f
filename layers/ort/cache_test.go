package ort

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// entries lists what a cache holds.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestPreparedModelGivesTheSameBits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when", "needed")
	path, in, out := network(t, 64)
	var want []float32
	t.Run("no cache", func(t *testing.T) {
		s := open(t, start(t, Options{}), path, "digest", in, out)
		if ok, err := s.Prepared(); ok || err != nil {
			t.Errorf("prepared: %t, %v", ok, err)
		}
		want = answer(t, s, 4, 3)
	})
	for _, name := range []string{"first start", "second start"} {
		t.Run(name, func(t *testing.T) {
			s := open(t, start(t, Options{CacheDir: dir}), path, "digest", in, out)
			if ok, err := s.Prepared(); !ok || err != nil {
				t.Errorf("prepared: %t, %v", ok, err)
			}
			if !slices.Equal(answer(t, s, 4, 3), want) {
				t.Error("other bits than without a cache")
			}
		})
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("the cache holds %v, want one entry", got)
	}
	// The program's file is no longer needed.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(answer(t, open(t, start(t, Options{CacheDir: dir}), path, "digest", in, out), 4, 3), want) {
		t.Error("other bits")
	}
}

func TestDamagedCacheIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	path, in, out := network(t, 64)
	rt := start(t, Options{CacheDir: dir})
	use := func() []float32 {
		t.Helper()
		s, err := rt.Open(t.Context(), path, "digest", in, out)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if ok, err := s.Prepared(); !ok || err != nil {
			t.Errorf("prepared: %t, %v", ok, err)
		}
		return answer(t, s, 2, 5)
	}
	want := use()
	entry := filepath.Join(dir, entries(t, dir)[0])
	good := map[string][]byte{}
	for _, name := range entries(t, entry) {
		b, err := os.ReadFile(filepath.Join(entry, name))
		if err != nil {
			t.Fatal(err)
		}
		good[name] = b
	}
	if len(good) != 3 {
		t.Fatalf("an entry of %d files, want model, weights and entry", len(good))
	}
	for name := range good {
		for how, damage := range map[string]func(b []byte) []byte{
			"a changed byte": func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b },
			"cut off":        func(b []byte) []byte { return b[:len(b)/2] },
			"emptied":        func(b []byte) []byte { return nil },
			"gone":           nil,
		} {
			p := filepath.Join(entry, name)
			// A new file, as a session may still have the old one mapped.
			if err := os.Remove(p); err != nil {
				t.Fatal(err)
			}
			if damage != nil {
				if err := os.WriteFile(p, damage(slices.Clone(good[name])), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(use(), want) {
				t.Errorf("%s, %s: other bits", name, how)
			}
			b, err := os.ReadFile(p)
			if err != nil || name != preparedEntry && !bytes.Equal(b, good[name]) {
				t.Errorf("%s, %s: was not made anew (%v)", name, how, err)
			}
			if left := entries(t, dir); len(left) != 1 {
				t.Errorf("%s, %s: the cache holds %v", name, how, left)
			}
		}
	}
}

func TestCacheThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	path, in, out := network(t, 4)
	s := open(t, start(t, Options{CacheDir: filepath.Join(file, "cache")}), path, "digest", in, out)
	if ok, err := s.Prepared(); ok || err == nil {
		t.Errorf("prepared: %t, %v; want the reason why not", ok, err)
	}
	answer(t, s, 1, 1)
}

// Several processes start on one empty cache.
func TestProcessesShareACache(t *testing.T) {
	const child = "VISTA_MR_TEST_ORT_CHILD"
	if arg := os.Getenv(child); arg != "" {
		model, dir, _ := strings.Cut(arg, "|")
		_, in, out := network(t, 64)
		s := open(t, start(t, Options{CacheDir: dir}), model, "digest", in, out)
		if ok, err := s.Prepared(); !ok || err != nil {
			t.Errorf("prepared: %t, %v", ok, err)
		}
		fmt.Printf("answer %x\n", answer(t, s, 2, 5))
		return
	}
	dir := t.TempDir()
	path, in, out := network(t, 64)
	want := fmt.Sprintf("answer %x\n", answer(t, open(t, start(t, Options{}), path, "", in, out), 2, 5))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcessesShareACache$")
			cmd.Env = append(os.Environ(), child+"="+path+"|"+dir)
			b, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(b), want) {
				t.Errorf("%v\n%s", err, b)
			}
		})
	}
	wg.Wait()
	if got := entries(t, dir); len(got) != 1 {
		t.Errorf("the cache holds %v, want one entry", got)
	}
}

func TestCacheForgetsWhatWasNotUsedForLongest(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	add := func(name string, size int, age time.Duration) {
		t.Helper()
		d := filepath.Join(dir, name)
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
		for file, n := range map[string]int{preparedWeights: size, preparedEntry: 0} {
			f := filepath.Join(d, file)
			if err := os.WriteFile(f, make([]byte, n), 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(f, now.Add(-age), now.Add(-age)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(d, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	add("ort-new", 100, 9*time.Hour) // to be kept, whatever its age
	add("ort-a", 100, 3*time.Hour)
	add("ort-b", 100, 2*time.Hour)
	add("ort-c", 100, time.Hour)
	add(".new-1", 100, time.Hour)
	add(".new-2", 100, 25*time.Hour)
	add("other", 1000, 99*time.Hour)
	if err := prune(dir, "ort-new", 250, now); err != nil {
		t.Fatal(err)
	}
	if got, want := entries(t, dir), []string{".new-1", "ort-c", "ort-new", "other"}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}
