package s3_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// network is one between client and server that is not to be trusted: of a hundred requests that change something one loses its
// reply, two arrive twice, of which the second reply is the one that comes back, and three are late.
type network struct {
	next http.RoundTripper

	seen                 *atomic.Int64 // requests over all connections of a test
	mu                   sync.Mutex
	lost, doubled, later int
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return n.next.RoundTrip(r)
	}
	n.mu.Lock()
	seen := n.seen.Add(1)
	lose, double, late := seen%71 == 7, seen%41 == 5, seen%29 == 3 // by count: a test of few requests meets them all
	if lose {
		n.lost++
	}
	if double {
		n.doubled++
	}
	if late {
		n.later++
	}
	n.mu.Unlock()
	if late {
		select {
		case <-time.After(30 * time.Millisecond):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if double && r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		first := r.Clone(r.Context())
		first.Body, r.Body = io.NopCloser(bytes.NewReader(body)), io.NopCloser(bytes.NewReader(body))
		if err := drop(n.next.RoundTrip(first)); err != nil {
			return nil, err
		}
	}
	if lose {
		if err := drop(n.next.RoundTrip(r)); err != nil {
			return nil, err
		}
		return nil, errors.New("the reply is lost")
	}
	return n.next.RoundTrip(r)
}

func drop(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// TestCommitsAreExact on S3, over a network that is not to be trusted. VISTA_COMMITS=5000 VISTA_COMMIT_FILES=10 is the counted run.
func TestCommitsAreExact(t *testing.T) {
	for _, kind := range s3test.Kinds {
		t.Run(kind, func(t *testing.T) {
			var mu sync.Mutex
			var all []*network
			var seen atomic.Int64
			c := s3test.Start(t, kind).Config()
			c.Wrap = func(next http.RoundTripper) http.RoundTripper {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, &network{next: next, seen: &seen})
				return all[len(all)-1]
			}
			folder := s3test.Folder()
			mrtest.Exact{Usual: 100, Open: func(t testing.TB) dfs.FS {
				fs, err := s3.New(s3test.Bucket, folder, c)
				if err != nil {
					t.Fatal(err)
				}
				return fs
			}}.Run(t)
			lost, doubled, late := 0, 0, 0
			for _, n := range all {
				lost, doubled, late = lost+n.lost, doubled+n.doubled, late+n.later
			}
			t.Logf("%d replies were lost, %d requests came twice and %d late", lost, doubled, late)
			if lost == 0 || doubled == 0 || late == 0 {
				t.Error("the network was too good to prove anything")
			}
		})
	}
}
