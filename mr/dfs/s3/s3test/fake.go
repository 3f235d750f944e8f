package s3test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs/s3"
)

// Fake is a store in memory. It does not look at signatures. What its fields say it does wrong it does from the
// first request on; Before may change what happens to single ones.
type Fake struct {
	// Ignores lets conditions of PUT, or of completions, go unheard: what some emulators do.
	IgnoresPut, IgnoresComplete bool
	// StaleList lets listings miss what was written less than so long ago.
	StaleList time.Duration
	// Unordered lists in the reverse order.
	Unordered bool
	// Clock is how far the store's clock is ahead.
	Clock time.Duration
	// Forgets drops what writers say of objects beside their content.
	Forgets bool
	// Before is asked about each request, and about which of its kind (method and what is in the query) it is,
	// from 1 on.
	Before func(r *http.Request, n int) Fault

	mu      sync.Mutex
	objects map[string]*object
	uploads map[string]*upload
	counts  map[string]int
	next    int
	server  *httptest.Server
}

// Fault is what happens to a request.
type Fault struct {
	Status int           // answer this, with Code, and do nothing
	Code   string        //
	Text   string        // the answer's message
	Delay  time.Duration // wait first, or until the client is gone
	Lose   bool          // do it, then cut the connection instead of answering
	Cut    int           // answer only so many bytes of the body, then cut the connection
}

type object struct {
	data  []byte
	etag  string
	meta  http.Header
	begun time.Time
}

type upload struct {
	key   string
	meta  http.Header
	parts map[int][]byte
	begun time.Time
}

// NewFake starts the store.
func NewFake(t testing.TB) *Fake {
	f := &Fake{objects: map[string]*object{}, uploads: map[string]*upload{}, counts: map[string]int{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.server.CloseClientConnections()
		f.server.Close()
	})
	return f
}

// URL is the store's endpoint.
func (f *Fake) URL() string { return f.server.URL }

// Env is the environment that a client needs.
func (f *Fake) Env(name string) string {
	return map[string]string{"AWS_ENDPOINT_URL_S3": f.server.URL, "AWS_ACCESS_KEY_ID": "fake-access", "AWS_SECRET_ACCESS_KEY": "fake-secret-value", "AWS_REGION": "us-east-1"}[name]
}

// Config is what a client needs; it gives up soon.
func (f *Fake) Config() s3.Config {
	return s3.Config{Env: f.Env, Patience: 10 * time.Second, Stall: 5 * time.Second}
}

// Put writes an object whatever is there.
func (f *Fake) Put(key string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(key, data, http.Header{})
}

// Keys are the keys of all objects.
func (f *Fake) Keys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.objects))
}

// Uploads is the number of uploads that are not finished.
func (f *Fake) Uploads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.uploads)
}

// Calls is what was asked for since the last time, by kind.
func (f *Fake) Calls() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.counts
	f.counts = map[string]int{}
	return out
}

// Kind names a request: its method, and what else there is in the query.
func Kind(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("list-type"):
		return "LIST"
	case q.Has("partNumber"):
		return "PART"
	case q.Has("uploads") && r.Method == http.MethodGet:
		return "UPLOADS"
	case q.Has("uploads"):
		return "BEGIN"
	case q.Has("uploadId") && r.Method == http.MethodPost:
		return "COMPLETE"
	case q.Has("uploadId") && r.Method == http.MethodDelete:
		return "ABORT"
	}
	return r.Method
}

// Then makes Before another one while requests are under way.
func (f *Fake) Then(before func(r *http.Request, n int) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Before = before
}

// ServeHTTP answers a request.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	w.Header().Set("Date", time.Now().Add(f.Clock).UTC().Format(http.TimeFormat))
	kind := Kind(r)
	f.mu.Lock()
	f.counts[kind]++
	n, before := f.counts[kind], f.Before
	f.mu.Unlock()
	var fault Fault
	if before != nil {
		fault = before(r, n)
	}
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if fault.Status != 0 {
		refuse(w, r, fault.Status, fault.Code, fault.Text)
		return
	}
	answer := httptest.NewRecorder()
	f.mu.Lock()
	f.serve(answer, r, kind, body)
	f.mu.Unlock()
	if fault.Lose {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
	}
	w.WriteHeader(answer.Code)
	b := answer.Body.Bytes()
	if fault.Cut > 0 && fault.Cut < len(b) {
		_, _ = w.Write(b[:fault.Cut]) // the connection is cut anyway
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(b) // a client that is gone has lost its reply
}

func refuse(w http.ResponseWriter, r *http.Request, status int, code, text string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>%s</Message></Error>", code, text)
	}
}

func (f *Fake) put(key string, data []byte, h http.Header) *object {
	sum := md5.Sum(data)
	o := &object{data: data, etag: `"` + hex.EncodeToString(sum[:]) + `"`, meta: http.Header{}, begun: time.Now()}
	for k, v := range h {
		if strings.HasPrefix(k, "X-Amz-Meta-") && !f.Forgets {
			o.meta[k] = v
		}
	}
	f.objects[key] = o
	return o
}

func (f *Fake) serve(w http.ResponseWriter, r *http.Request, kind string, body []byte) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket != Bucket {
		refuse(w, r, 404, "NoSuchBucket", "The specified bucket does not exist")
		return
	}
	taken := f.objects[key] != nil && r.Header.Get("If-None-Match") == "*"
	q := r.URL.Query()
	up := f.uploads[q.Get("uploadId")]
	if up == nil && q.Get("uploadId") != "" {
		refuse(w, r, 404, "NoSuchUpload", "The specified upload does not exist")
		return
	}
	switch kind {
	case "LIST":
		f.list(w, q)
	case "UPLOADS":
		type entry struct {
			Key, UploadId string
			Initiated     time.Time
		}
		var out []entry
		for id, u := range f.uploads {
			out = append(out, entry{u.key, id, u.begun})
		}
		answer(w, "ListMultipartUploadsResult", struct{ Upload []entry }{out})
	case "BEGIN":
		f.next++
		id := fmt.Sprintf("upload-%d", f.next)
		f.uploads[id] = &upload{key, r.Header, map[int][]byte{}, time.Now()}
		answer(w, "InitiateMultipartUploadResult", struct{ Bucket, Key, UploadId string }{bucket, key, id})
	case "PART":
		n, _ := strconv.Atoi(q.Get("partNumber"))
		up.parts[n] = body
		w.Header().Set("ETag", fmt.Sprintf(`"part-%d"`, n))
	case "COMPLETE":
		if taken && !f.IgnoresComplete {
			refuse(w, r, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
			return
		}
		var all []byte
		for _, n := range slices.Sorted(maps.Keys(up.parts)) {
			all = append(all, up.parts[n]...)
		}
		o := f.put(key, all, up.meta)
		delete(f.uploads, q.Get("uploadId"))
		answer(w, "CompleteMultipartUploadResult", struct{ Bucket, Key, ETag string }{bucket, key, o.etag})
	case "ABORT":
		delete(f.uploads, q.Get("uploadId"))
		w.WriteHeader(204)
	case "PUT":
		if taken && !f.IgnoresPut {
			refuse(w, r, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
			return
		}
		w.Header().Set("ETag", f.put(key, body, r.Header).etag)
	case "DELETE":
		delete(f.objects, key)
		w.WriteHeader(204)
	case "GET", "HEAD":
		o := f.objects[key]
		switch {
		case o == nil:
			refuse(w, r, 404, "NoSuchKey", "The specified key does not exist")
			return
		case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != o.etag:
			refuse(w, r, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
			return
		}
		maps.Copy(w.Header(), o.meta)
		w.Header().Set("ETag", o.etag)
		if r.Header.Get("Range") != "" && len(o.data) == 0 {
			refuse(w, r, 416, "InvalidRange", "The requested range is not satisfiable")
			return
		}
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(o.data))
	default:
		refuse(w, r, 501, "NotImplemented", kind)
	}
}

func answer(w http.ResponseWriter, name string, v any) {
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).EncodeElement(v, xml.StartElement{Name: xml.Name{Local: name}}) // a recorder takes all
}

func (f *Fake) list(w http.ResponseWriter, q url.Values) {
	type entry struct {
		Key, ETag    string
		Size         int
		LastModified time.Time
	}
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	most := 1000
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil {
		most = min(most, n)
	}
	out := struct {
		Name, NextContinuationToken string
		IsTruncated                 bool
		Contents                    []entry
	}{Name: Bucket}
	for _, k := range slices.Sorted(maps.Keys(f.objects)) {
		o := f.objects[k]
		if !strings.HasPrefix(k, q.Get("prefix")) || k <= after || time.Since(o.begun) < f.StaleList {
			continue
		}
		if len(out.Contents) == most {
			out.IsTruncated, out.NextContinuationToken = true, out.Contents[most-1].Key
			break
		}
		out.Contents = append(out.Contents, entry{k, o.etag, len(o.data), o.begun})
	}
	if f.Unordered {
		slices.Reverse(out.Contents)
	}
	answer(w, "ListBucketResult", out)
}
