package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func want(t *testing.T, what string, err error, kind errs.Kind) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Errorf("%s: got %v (kind %v), want kind %v", what, err, errs.KindOf(err), kind)
	}
}

func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	return b
}

func wantContent(t *testing.T, fs dfs.FS, p dfs.Path, b []byte) {
	t.Helper()
	got, err := dfs.ReadFile(t.Context(), fs, p, 1<<30)
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("%s: %d bytes, %v; want %d", p, len(got), err, len(b))
	}
}

// little is a part of the store in memory, which takes any, and more than what comes with opening.
const little = 300 << 10

// small returns a store in memory and a client of it with the smallest parts.
func small(t *testing.T, before func(r *http.Request, n int) s3test.Fault) (*s3test.Fake, *s3.FS) {
	t.Helper()
	f := s3test.NewFake(t)
	f.Before = before
	c := f.Config()
	c.PartSize = little
	return f, s3test.FS(t, c)
}

// only makes a fault happen to the first request of a kind.
func only(kind string, fault s3test.Fault) func(*http.Request, int) s3test.Fault {
	return func(r *http.Request, n int) s3test.Fault {
		if s3test.Kind(r) == kind && n == 1 {
			return fault
		}
		return s3test.Fault{}
	}
}

func TestSuiteOnFake(t *testing.T) {
	t.Parallel()
	if s3test.Built(t, s3test.Kinds[0]) {
		t.Skip("there is a real server")
	}
	dfstest.Run(t, suite(func(t testing.TB) s3.Config { return s3test.NewFake(t).Config() }))
}

// TestLostReplies: the store does it and the reply is lost; the caller sees a success all the same.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	large := data(2*little + 7)
	for _, kind := range []string{"PUT", "BEGIN", "PART", "COMPLETE", "DELETE", "GET", "HEAD", "LIST"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fake, fs := small(t, only(kind, s3test.Fault{Lose: true}))
			must(t, "claim", fs.Claim(t.Context(), "c"))
			must(t, "write", dfs.WriteFile(t.Context(), fs, "a/large", large))
			wantContent(t, fs, "a/large", large)
			_, err := fs.Stat(t.Context(), "a/large")
			must(t, "stat", err)
			for _, err := range fs.List(t.Context(), "") {
				must(t, "list", err)
			}
			must(t, "remove", fs.Remove(t.Context(), "c"))
			want(t, "second claim", fs.Claim(t.Context(), "a/large"), errs.Exist)
			if n := fake.Uploads(); n != 0 {
				t.Errorf("%d uploads are left", n)
			}
		})
	}
}

// TestLostReplyAndUploadGone: some stores forget an upload when it is completed, so that to complete it again
// is an error of another kind.
func TestLostReplyAndUploadGone(t *testing.T) {
	t.Parallel()
	fake, fs := small(t, nil)
	fake.IgnoresComplete = true // so that the answer is NoSuchUpload and not 412
	fake.Before = only("COMPLETE", s3test.Fault{Lose: true})
	must(t, "write", dfs.WriteFile(t.Context(), fs, "a", data(little+1)))
	wantContent(t, fs, "a", data(little+1))
}

// TestSameBytesOfAnother: an object with the same content is still another's.
func TestSameBytesOfAnother(t *testing.T) {
	t.Parallel()
	fake, fs := small(t, nil)
	other, err := fs.Again()
	must(t, "again", err)
	fake.Before = func(r *http.Request, n int) s3test.Fault {
		if k := s3test.Kind(r); (k == "PUT" || k == "COMPLETE") && n == 1 {
			fake.Before = nil // the other is quicker, while our first try gets a 500
			must(t, "write by the other", dfs.WriteFile(context.Background(), other, "x", data(10)))
			return s3test.Fault{Status: 500, Code: "InternalError"}
		}
		return s3test.Fault{}
	}
	want(t, "write", dfs.WriteFile(t.Context(), fs, "x", data(10)), errs.Exist)
	want(t, "claim", fs.Claim(t.Context(), "x"), errs.Exist)
}

// TestUploadEndedBySomebody: the file is not there, and that is said, and may be tried again.
func TestUploadEndedBySomebody(t *testing.T) {
	t.Parallel()
	_, fs := small(t, nil)
	w, err := fs.Create(t.Context(), "a/b")
	must(t, "create", err)
	_, err = w.Write(data(little + 1))
	must(t, "write", err)
	must(t, "remove all", dfs.RemoveAll(t.Context(), fs, "a"))
	want(t, "commit", w.Commit(t.Context()), errs.Transient)
	must(t, "abort", w.Abort())
	_, err = fs.Stat(t.Context(), "a/b")
	want(t, "stat", err, errs.NotExist)
}

// TestObjectThatChanges: a reader never gets bytes of two versions.
func TestObjectThatChanges(t *testing.T) {
	t.Parallel()
	fake, fs := small(t, nil)
	b := data(4 << 20)
	must(t, "write", dfs.WriteFile(t.Context(), fs, "a", b))
	key := fake.Keys()[0]
	f, err := fs.Open(t.Context(), "a")
	must(t, "open", err)
	defer f.Close() // reading only
	_, err = f.ReadAt(make([]byte, 100), headSize)
	must(t, "read", err)
	other := slices.Clone(b)
	other[len(b)-1]++
	fake.Put(key, other)
	_, err = f.ReadAt(make([]byte, 100), 2<<20)
	want(t, "read of what has changed", err, errs.Corrupt)
	fake.Put(key, nil)
	_, err = f.ReadAt(make([]byte, 100), 3<<20)
	want(t, "read of what has become empty", err, errs.Corrupt)
	must(t, "remove", fs.Remove(t.Context(), "a"))
	_, err = f.ReadAt(make([]byte, 100), 3<<20)
	want(t, "read of what was removed", err, errs.NotExist)
}

// TestCalls: what operations cost, in calls of the store.
func TestCalls(t *testing.T) {
	t.Parallel()
	fake, fs := small(t, nil)
	read := func(t *testing.T, p dfs.Path, size, step int) {
		f, err := fs.Open(t.Context(), p)
		must(t, "open", err)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.NewSectionReader(f, 0, f.Size())}, make([]byte, step))
		if n != int64(size) {
			t.Errorf("%d bytes of %d", n, size)
		}
		must(t, "read", err)
		must(t, "close", f.Close())
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T)
		want map[string]int
	}{
		{"claim", func(t *testing.T) { must(t, "claim", fs.Claim(t.Context(), "c")) }, map[string]int{"PUT": 1}},
		{"lost claim", func(t *testing.T) { want(t, "claim", fs.Claim(t.Context(), "c"), errs.Exist) }, map[string]int{"PUT": 1, "HEAD": 1}},
		{"small commit", func(t *testing.T) { must(t, "write", dfs.WriteFile(t.Context(), fs, "s", data(little))) }, map[string]int{"PUT": 1}},
		{"large commit", func(t *testing.T) { must(t, "write", dfs.WriteFile(t.Context(), fs, "l", data(3*little+1))) }, map[string]int{"BEGIN": 1, "PART": 4, "COMPLETE": 1}},
		{"abort", func(t *testing.T) {
			w, err := fs.Create(t.Context(), "x")
			must(t, "create", err)
			_, err = w.Write(data(little))
			must(t, "write", err)
			must(t, "abort", w.Abort())
		}, map[string]int{}},
		{"abort of a large file", func(t *testing.T) {
			w, err := fs.Create(t.Context(), "x")
			must(t, "create", err)
			_, err = w.Write(data(little + 1))
			must(t, "write", err)
			must(t, "abort", w.Abort())
		}, map[string]int{"BEGIN": 1, "PART": 1, "ABORT": 1}},
		{"small read", func(t *testing.T) {
			must(t, "write", dfs.WriteFile(t.Context(), fs, "i", data(headSize)))
			fake.Calls()
			read(t, "i", headSize, 4096)
		}, map[string]int{"GET": 1}},
		// The beginning, then streams of 1, 2, 4 and 8 MiB.
		{"sequential read", func(t *testing.T) {
			fake.Put(strings.Replace(fake.Keys()[0], "/c", "/q", 1), data(15<<20))
			read(t, "q", 15<<20, 64<<10)
		}, map[string]int{"GET": 5}},
		{"read of an empty file", func(t *testing.T) { read(t, "c", 0, 100) }, map[string]int{"GET": 1, "HEAD": 1}},
		{"list", func(t *testing.T) {
			for _, err := range fs.List(t.Context(), "") {
				must(t, "list", err)
			}
		}, map[string]int{"LIST": 1}},
		{"remove", func(t *testing.T) { must(t, "remove", fs.Remove(t.Context(), "i")) }, map[string]int{"DELETE": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake.Calls()
			c.do(t)
			got := fake.Calls()
			if c.name == "abort of a large file" && got["PART"] == 0 { // it was quicker than its part
				got["PART"] = 1
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("calls %v, want %v", got, c.want)
			}
		})
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	fake := s3test.NewFake(t)
	whole, err := s3.New(s3test.Bucket, "", fake.Config())
	must(t, "new", err)
	for i := range 2500 {
		fake.Put(fmt.Sprintf("many/%04d", i), nil)
	}
	fake.Put("dir/", nil)
	fake.Put("dir/a", data(3))
	fake.Put("dir/sub/", data(2))
	fake.Put("bad//a", nil)
	list := func(dir dfs.Path) (n int, last dfs.Path, err error) {
		for info, err := range whole.List(t.Context(), dir) {
			if err != nil {
				return n, last, err
			}
			n, last = n+1, info.Path
		}
		return n, last, nil
	}
	fake.Calls()
	if n, last, err := list("many"); n != 2500 || last != "many/2499" || err != nil {
		t.Errorf("%d files up to %s, %v", n, last, err)
	}
	if c := fake.Calls(); c["LIST"] != 3 {
		t.Errorf("calls %v, want 3 for 2500 files", c)
	}
	if n, last, err := list("dir"); n != 1 || last != "dir/a" || err != nil {
		t.Errorf("marks of folders are no files: %d files up to %s, %v", n, last, err)
	}
	if _, _, err := list("bad"); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "bad//a") {
		t.Errorf("a key that is no path: %v", err)
	}
	fake.Unordered = true
	if _, _, err := list("many"); !errs.Is(err, errs.Invalid) {
		t.Errorf("a listing without order: %v", err)
	}
}

// TestErrors: what a user is told, and that secrets are not.
func TestErrors(t *testing.T) {
	t.Parallel()
	const secret = "fake-secret-value"
	for _, c := range []struct {
		fault s3test.Fault
		kind  errs.Kind
		id    string
		fix   string
	}{
		{s3test.Fault{Status: 403, Code: "AccessDenied", Text: "Access Denied"}, errs.Unauthorized, "E-S3-REFUSED", "s3:ListBucket"},
		{s3test.Fault{Status: 403, Code: "SignatureDoesNotMatch", Text: "key " + secret}, errs.Unauthorized, "E-S3-REFUSED", "AWS_SECRET_ACCESS_KEY"},
		{s3test.Fault{Status: 403, Code: "InvalidAccessKeyId"}, errs.Unauthorized, "E-S3-REFUSED", "access key"},
		{s3test.Fault{Status: 400, Code: "ExpiredToken"}, errs.Unauthorized, "E-S3-REFUSED", "expired"},
		{s3test.Fault{Status: 403, Code: "RequestTimeTooSkewed"}, errs.Unauthorized, "E-S3-REFUSED", "clock"},
		{s3test.Fault{Status: 404, Code: "NoSuchBucket"}, errs.Invalid, "E-S3-BUCKET", "bucket"},
		{s3test.Fault{Status: 301, Code: "PermanentRedirect"}, errs.Invalid, "E-S3-REGION", "AWS_REGION"},
		{s3test.Fault{Status: 501, Code: "NotImplemented", Text: "A header you provided implies functionality"}, errs.Invalid, "E-S3-LACKING", "doctor"},
		{s3test.Fault{Status: 507, Code: "XMinioStorageFull"}, errs.NoSpace, "E-NO-SPACE", "room"},
		{s3test.Fault{Status: 503, Code: "SlowDown"}, errs.Transient, "E-TRANSIENT", "busy"},
		{s3test.Fault{Status: 500, Code: "InternalError"}, errs.Unreachable, "E-S3-UNREACHABLE", "log"},
		{s3test.Fault{Lose: true}, errs.Unreachable, "E-S3-UNREACHABLE", "endpoint"},
		{s3test.Fault{Delay: time.Hour}, errs.Unreachable, "E-S3-UNREACHABLE", "endpoint"},
	} {
		t.Run(fmt.Sprintf("%d%s", c.fault.Status, c.fault.Code), func(t *testing.T) {
			t.Parallel()
			fake := s3test.NewFake(t)
			fake.Before = func(*http.Request, int) s3test.Fault { return c.fault }
			config := fake.Config()
			config.Patience = 300 * time.Millisecond
			if c.fault.Delay > 0 {
				config.Stall = time.Second
			}
			fs := s3test.FS(t, config)
			check := func(what string, err error) {
				t.Helper()
				want(t, what, err, c.kind)
				var e *errs.Error
				if !errors.As(err, &e) || e.ErrorID() != c.id || !strings.Contains(e.Hint(), c.fix) {
					t.Errorf("%s: %v: id %s, hint %q; want %s and a hint with %q", what, err, e.ErrorID(), e.Hint(), c.id, c.fix)
				}
				if !strings.Contains(err.Error(), "s3://vista/") {
					t.Errorf("%s: %v: the place is not named", what, err)
				}
				if text := fmt.Sprintf("%v %s", err, e.Hint()); strings.Contains(text, secret) {
					t.Errorf("%s: a secret is shown: %s", what, text)
				}
			}
			check("claim", fs.Claim(t.Context(), "a/b"))
			_, err := fs.Stat(t.Context(), "a/b")
			check("stat", err)
			_, err = fs.Open(t.Context(), "a/b")
			check("open", err)
			for _, err := range fs.List(t.Context(), "a") {
				check("list", err)
			}
		})
	}
}
