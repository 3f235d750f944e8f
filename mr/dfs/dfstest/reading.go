package dfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func open(t *testing.T, fs dfs.FS, p dfs.Path) dfs.File {
	t.Helper()
	f, err := fs.Open(t.Context(), p)
	must(t, "open", err)
	return f
}

// readRange checks ReadAt against the data.
func readRange(t *testing.T, f dfs.File, data []byte, off int64, n int) {
	t.Helper()
	wantBytes := data[min(off, int64(len(data))):min(off+int64(n), int64(len(data)))]
	buf := bytes.Repeat([]byte{0xA5}, n+1)
	got, err := f.ReadAt(buf[:n], off)
	switch {
	case got != len(wantBytes) || !bytes.Equal(buf[:got], wantBytes):
		t.Errorf("read of %d at %d: %d bytes, %v; want %d of the file's", n, off, got, err, len(wantBytes))
	case got < n && err != io.EOF:
		t.Errorf("read of %d at %d, past the end: %v, want io.EOF", n, off, err)
	case got == n && err != nil && err != io.EOF:
		t.Errorf("read of %d at %d: %v", n, off, err)
	case got == n && err == io.EOF && off+int64(n) != int64(len(data)) && n > 0:
		t.Errorf("read of %d at %d: io.EOF before the end", n, off)
	case buf[n] != 0xA5:
		t.Errorf("read of %d at %d: wrote behind the buffer", n, off)
	}
}

// reading: ranges, ends and handles.
var reading = []check{
	{"every range of a small file", func(t *testing.T, _ Case, fs dfs.FS) {
		data := pattern(9)
		write(t, fs, "small", data)
		f := open(t, fs, "small")
		if f.Size() != 9 {
			t.Errorf("size %d", f.Size())
		}
		for off := int64(0); off < 12; off++ {
			for n := range 12 {
				readRange(t, f, data, off, n)
			}
		}
		readRange(t, f, data, 1<<40, 5)
		if n, err := f.ReadAt(make([]byte, 2), -1); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("negative offset: %d, %v; want an error", n, err)
		}
		must(t, "close", f.Close())
	}},
	{"read of an empty file", func(t *testing.T, _ Case, fs dfs.FS) {
		must(t, "claim", fs.Claim(t.Context(), "marker"))
		f := open(t, fs, "marker")
		readRange(t, f, nil, 0, 4)
		readRange(t, f, nil, 3, 4)
		must(t, "close", f.Close())
	}},
	{"big file", func(t *testing.T, c Case, fs dfs.FS) {
		data := pattern(int(c.Big))
		w, err := fs.Create(t.Context(), "big")
		must(t, "create", err)
		for i, rest := 0, data; len(rest) > 0; i++ {
			n := min(len(rest), 1+i*i*997) // from one byte to many
			_, err := w.Write(rest[:n])
			must(t, "write", err)
			rest = rest[n:]
		}
		must(t, "commit", w.Commit(t.Context()))
		wantContent(t, fs, "big", data)
		f := open(t, fs, "big")
		rng := rand.New(rand.NewPCG(1, 2))
		for range 50 {
			readRange(t, f, data, rng.Int64N(c.Big), 1+rng.IntN(1<<18))
		}
		readRange(t, f, data, c.Big-5, 5)
		readRange(t, f, data, c.Big-5, 50)
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read through a section: %d bytes, %v", len(got), err)
		}
		must(t, "close", f.Close())
	}},
	{"many readers of one handle", func(t *testing.T, c Case, fs dfs.FS) {
		data := pattern(1 << 20)
		write(t, fs, "shared", data)
		f := open(t, fs, "shared")
		var wg sync.WaitGroup
		for i := range c.Racers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(3, uint64(i)))
				for range 50 {
					readRange(t, f, data, rng.Int64N(1<<20), 1+rng.IntN(20_000))
				}
			})
		}
		wg.Wait()
		must(t, "close", f.Close())
	}},
	{"handles are independent", func(t *testing.T, _ Case, fs dfs.FS) {
		data := pattern(1000)
		write(t, fs, "a", data)
		one, two := open(t, fs, "a"), open(t, fs, "a")
		must(t, "close", one.Close())
		_ = one.Close() // a second close may complain, but must do no harm
		if n, err := one.ReadAt(make([]byte, 10), 0); err == nil {
			t.Errorf("read after close: %d bytes", n)
		}
		readRange(t, two, data, 0, 1000)
		must(t, "close", two.Close())
	}},
	{"read limit", func(t *testing.T, _ Case, fs dfs.FS) {
		write(t, fs, "a", pattern(100))
		if got, err := dfs.ReadFile(t.Context(), fs, "a", 100); err != nil || len(got) != 100 {
			t.Errorf("at the limit: %d bytes, %v", len(got), err)
		}
		_, err := dfs.ReadFile(t.Context(), fs, "a", 99)
		want(t, "over the limit", err, errs.Invalid)
		_, err = dfs.ReadFile(t.Context(), fs, "b", 99)
		want(t, "absent", err, errs.NotExist)
	}},
	{"many writers at once", func(t *testing.T, c Case, fs dfs.FS) {
		writers := make([]dfs.Writer, c.Racers)
		for i := range writers {
			w, err := fs.Create(t.Context(), dfs.Path(fmt.Sprintf("out/%02d", i)))
			must(t, "create", err)
			writers[i] = w
		}
		data := pattern(64 << 10)
		var wg sync.WaitGroup
		for i, w := range writers {
			wg.Go(func() {
				for off := 0; off < len(data); off += 1000 + i {
					if _, err := w.Write(data[off:min(off+1000+i, len(data))]); err != nil {
						t.Errorf("write: %v", err)
					}
				}
				end := func() error { return w.Commit(t.Context()) }
				if i%4 == 3 {
					end = w.Abort
				}
				if err := end(); err != nil {
					t.Errorf("end of writer %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for i := range writers {
			p := dfs.Path(fmt.Sprintf("out/%02d", i))
			if i%4 == 3 {
				wantAbsent(t, fs, p)
			} else {
				wantContent(t, fs, p, data)
			}
		}
	}},
}
