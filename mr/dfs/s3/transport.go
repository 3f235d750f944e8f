package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	idleTimeout = 15 * time.Second // less than any Stall, so that no connection is given up while a request takes it
	// Servers without a proxy in front are met over one host name: enough idle connections for the slots of a worker.
	idlePerHost = 64
)

// conn is a connection on which something must move: whatever is sent or received puts the deadline of
// both directions off. A request's reply is thus waited for as long after its last byte as for any byte.
type conn struct {
	net.Conn
	stall time.Duration
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// piece bounds what is written under one deadline: on a slow line a part is much more.
const piece = 64 << 10

func (c *conn) Write(b []byte) (int, error) {
	for n := 0; ; {
		if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
			return n, err
		}
		k, err := c.Conn.Write(b[n:min(n+piece, len(b))])
		n += k
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// transport makes the connections of a bucket.
func (b *bucket) transport(s *settings, c Config) (http.RoundTripper, error) {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			under, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &conn{under, b.stall}, nil
		},
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       min(idleTimeout, b.stall/2),
		TLSHandshakeTimeout:   b.stall,
		ResponseHeaderTimeout: b.stall,
		ReadBufferSize:        32 << 10,
		WriteBufferSize:       32 << 10,
		DisableCompression:    true, // objects are bytes
	}
	if s.Secure {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if s.Roots != "" {
			pool, err := readRoots(s.Roots)
			if err != nil {
				return nil, err
			}
			t.TLSClientConfig.RootCAs = pool
		}
	}
	var rt http.RoundTripper = t
	if c.Wrap != nil {
		rt = c.Wrap(rt)
	}
	if b.losing {
		rt = &loser{next: rt}
	}
	return &clock{rt, b}, nil
}

// clock notes what time the store has.
type clock struct {
	http.RoundTripper
	b *bucket
}

func (c *clock) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if now := time.Now(); c.b.dated.Load() != now.Unix() {
		if there, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			// The header has whole seconds: half of one is the best guess at the rest.
			c.b.skew.Store(int64(there.Add(time.Second / 2).Sub(now)))
			c.b.dated.Store(now.Unix())
		}
	}
	return resp, nil
}

var errLost = errors.New("the reply was lost on purpose")

// loser loses the first reply to every request that changes something, after the store has done it.
type loser struct {
	next http.RoundTripper
	last lastRequest
}

func (l *loser) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return resp, err
	}
	if l.last.repeats(r) {
		return resp, nil
	}
	return nil, errors.Join(errLost, resp.Body.Close())
}

// lastRequest knows the requests whose replies were lost.
type lastRequest struct {
	mu   sync.Mutex
	seen map[string]bool
}

// repeats tells whether the request was made before, and notes it.
func (l *lastRequest) repeats(r *http.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := r.Method + " " + r.URL.Path + "?" + r.URL.RawQuery + " " + r.Header.Get("X-Amz-Content-Sha256") + " " + r.Header.Get("X-Amz-Meta-"+ownerKey)
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	was := l.seen[key]
	l.seen[key] = true
	return was
}
