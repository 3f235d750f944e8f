package cluster

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// serveWorker runs a worker that can do nothing.
func serveWorker(ctx context.Context, t *testing.T, url, token string, c Certificates, log *zap.Logger) error {
	t.Helper()
	h := c.HTTP(url)
	if h == nil {
		h = &http.Client{Transport: &http.Transport{}}
	}
	defer h.CloseIdleConnections()
	return ServeWorker(ctx, WorkerOptions{Tracker: url, Token: token, HTTP: h, Slots: 1, Scratch: t.TempDir(), Log: log,
		Timing: wire.Timing{Redial: time.Millisecond}})
}

// TestMistakes of how a worker, or a command, is started end it at once, with the cause and what to change.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	a, other := newAuthority(t), newAuthority(t)
	own := a.issue(dir, "tracker", "127.0.0.1")
	ca := a.file(dir)
	secure := serve(t, TrackerOptions{Token: "s3cret", TLS: Certificates{Cert: own.Cert, Key: own.Key, CA: ca}})
	plain := serve(t, TrackerOptions{})
	stranger := other.issue(dir, "eve")
	stranger.CA = ca
	website := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "only GET", http.StatusMethodNotAllowed) }))
	defer website.Close()
	for name, c := range map[string]struct {
		url, token string
		certs      Certificates
		code       exit.Class
		cause, fix string
	}{
		"http, and the tracker speaks TLS": {"http" + strings.TrimPrefix(secure, "https"), "s3cret", Certificates{}, exit.Unreachable, "400", "write https://"},
		"https, and it speaks none":        {"https" + strings.TrimPrefix(plain, "http"), "", Certificates{}, exit.Unreachable, "HTTP response to HTTPS client", "write http://"},
		"the authorities of the system":    {secure, "s3cret", Certificates{}, exit.Unreachable, "certificate", "--ca"},
		"another authority":                {secure, "s3cret", Certificates{CA: other.file(dir)}, exit.Unreachable, "certificate", "--ca"},
		"a certificate that is not taken":  {secure, "", stranger, exit.Unreachable, "certificate", "--client-ca"},
		"a wrong token":                    {secure, "guess", Certificates{CA: ca}, exit.Unreachable, "401", "--token-file"},
		"another server":                   {website.URL, "", Certificates{}, exit.Unreachable, "405", "address"},
		"no address":                       {"tracker:7531", "", Certificates{}, exit.Usage, "no address", ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for who, err := range map[string]error{"a worker": serveWorker(ctx, t, c.url, c.token, c.certs, nil), "a command": call(t, c.url, c.token, c.certs)} {
			if ctx.Err() != nil || exit.Code(err) != int(c.code) || !strings.Contains(err.Error(), c.cause) {
				t.Errorf("%s: %s: %v", name, who, err)
				continue
			}
			if e := errs.Of("", err); c.fix != "" && (e.ErrorID() != "E-TRACKER" || !strings.Contains(e.Hint(), c.fix) || !strings.Contains(err.Error(), c.url)) {
				t.Errorf("%s: %s: %v; %s", name, who, err, e.Hint())
			}
		}
		cancel()
	}
}

// TestNoMistake: a worker goes on dialling where nobody listens yet, and where a gateway has no tracker behind it.
func TestNoMistake(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no tracker", http.StatusBadGateway) }))
	defer gateway.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	nothing := httptest.NewServer(http.NotFoundHandler()) // a gateway's usual answer
	defer nothing.Close()
	if e := errs.Of("", call(t, nothing.URL, "", Certificates{})); e.ErrorID() != "E-TRACKER" || !strings.Contains(e.Hint(), "address") || !errs.Is(e, errs.Unreachable) {
		t.Errorf("a command: %v; %s", e, e.Hint())
	}
	for _, url := range []string{gateway.URL, nobody, nothing.URL} {
		core, said := observer.New(zap.WarnLevel)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- serveWorker(ctx, t, url, "", Certificates{}, zap.New(core)) }()
		for said.FilterMessageSnippet("trying again").Len() < 3 {
			select {
			case err := <-ended:
				t.Fatalf("%s: %v", url, err)
			case <-time.After(time.Millisecond):
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestCertificateOfAnotherTime: one that is not valid yet may be later, one that has expired may not.
func TestCertificateOfAnotherTime(t *testing.T) {
	for _, c := range []struct {
		from, until  time.Duration
		ends         bool
		word, really string
	}{{time.Hour, 2 * time.Hour, false, "not valid yet", "clock"}, {-2 * time.Hour, -time.Hour, true, "good now", "--cert"}} {
		now := time.Now()
		err := errs.E("dial", errs.Unreachable, "", x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{NotBefore: now.Add(c.from), NotAfter: now.Add(c.until)}})
		if ends := hopeless("https://x")(err) != nil; ends != c.ends {
			t.Errorf("valid from %v on: a worker ends: %v", c.from, ends)
		}
		if said := errs.Of("", (&Client{URL: "https://x"}).unreachable(err)).Hint(); !strings.Contains(said, c.word) || !strings.Contains(said, c.really) {
			t.Errorf("valid from %v on: %s", c.from, said)
		}
	}
}
