package cluster

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Certificates are files by which two sides know each other, in PEM; "": without.
type Certificates struct {
	Cert string // this side's own, and what leads from it to an authority
	Key  string // of Cert
	// CA holds what the other side's must be signed by; for a client also the tracker's certificate itself, whatever names
	// that has.
	CA string
}

// The environment of clients, workers and drivers.
const (
	CAVariable   = "VISTA_MR_CA"
	CertVariable = "VISTA_MR_CERT"
	KeyVariable  = "VISTA_MR_KEY"
)

// Check says what is missing or cannot be read.
func (c Certificates) Check() error {
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("a certificate and its key come together")
	}
	if c.Cert != "" {
		if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
			return fmt.Errorf("%s: %w", c.Cert, err)
		}
	}
	if c.CA != "" {
		if _, _, err := authorities(c.CA); err != nil {
			return err
		}
	}
	return nil
}

// serverTLS is how a tracker listens with a certificate, which is read anew when its file has changed. With a CA, whoever has
// a certificate of that authority needs no token.
func (c Certificates) serverTLS(log *zap.Logger) *tls.Config {
	own := &pair{Certificates: c, log: log}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.get() }}
	if c.CA == "" {
		return conf
	}
	base := conf
	conf = base.Clone()
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		_, pool, err := authorities(c.CA)
		if err != nil {
			return nil, err // who cannot be asked is not let in
		}
		one := base.Clone()
		one.ClientAuth, one.ClientCAs = tls.VerifyClientCertIfGiven, pool
		return one, nil
	}
	return conf
}

// HTTP is the client for the tracker at a URL; nil: the usual one will do.
func (c Certificates) HTTP(tracker string) *http.Client {
	if c == (Certificates{}) {
		return nil
	}
	return &http.Client{Transport: c.transport(tracker)}
}

// Direct is the client of a driver: its tracker is on its own machine, which a proxy would look for elsewhere.
func (c Certificates) Direct(tracker string) *http.Client {
	t := c.transport(tracker)
	t.Proxy = nil
	return &http.Client{Transport: t}
}

func (c Certificates) transport(tracker string) *http.Transport {
	host := ""
	if u, err := url.Parse(tracker); err == nil { // else nothing is dialed
		host = u.Hostname()
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Cert != "" {
		own := &pair{Certificates: c, log: zap.NewNop()}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get() }
	}
	if c.CA != "" {
		// The library would ask for the host's name, which a certificate that is known itself need not have: what it would
		// check is checked in verify. (The state of a connection has no name where the host is an address.)
		conf.InsecureSkipVerify = true
		conf.VerifyConnection = func(s tls.ConnectionState) error { return verify(c.CA, host, s, time.Now()) }
	}
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t = &http.Transport{}
	}
	t = t.Clone()
	// Workers' connections are WebSockets, which HTTP/2 has not.
	t.TLSClientConfig, t.ForceAttemptHTTP2, t.TLSNextProto = conf, false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	return t
}

// verify accepts a tracker whose certificate stands in a file, or is signed by an authority of it for the host that was dialed.
func verify(file, host string, s tls.ConnectionState, now time.Time) error {
	if len(s.PeerCertificates) == 0 || host == "" {
		return errors.New("the tracker has no certificate")
	}
	known, pool, err := authorities(file)
	if err != nil {
		return err
	}
	leaf := s.PeerCertificates[0]
	if slices.ContainsFunc(known, leaf.Equal) {
		if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			return x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired, Detail: fmt.Sprintf("the tracker's is good from %s to %s only", leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly))}
		}
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, DNSName: host, CurrentTime: now})
	return err
}

// authorities reads the certificates of a file.
func authorities(file string) ([]*x509.Certificate, *x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	var all []*x509.Certificate
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, c)
		pool.AddCert(c)
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return all, pool, nil
}

// pair is a certificate that is read anew when its files change.
type pair struct {
	Certificates
	log *zap.Logger

	mu   sync.Mutex
	made time.Time // the later time of both files
	cert *tls.Certificate
}

// get returns the certificate. A new one that cannot be read leaves the old one in use: files are replaced one after the other.
func (p *pair) get() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var made time.Time
	for _, name := range []string{p.Cert, p.Key} {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(made) {
			made = info.ModTime()
		}
	}
	if p.cert != nil && made.Equal(p.made) {
		return p.cert, nil
	}
	cert, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err == nil {
		p.cert, p.made = &cert, made
	} else if p.cert != nil {
		p.log.Warn("the certificate has changed and cannot be read; the one before stays in use", zap.Error(err))
		err = nil
	}
	return p.cert, err
}

// callers is who may call a tracker: whoever has a token of it, or a certificate of its clients' authority.
type callers struct {
	token   string // that users and workers have; "": none
	drivers string // that the tracker gives to drivers, and that nobody else knows
	certs   bool   // certificates of clients count
}

// none tells whether everybody of this machine may call.
func (c callers) none() bool { return c.token == "" && !c.certs }

// newCallers makes a token for drivers.
func newCallers(token string, certs bool) (callers, error) {
	var b [16]byte
	_, err := rand.Read(b[:])
	return callers{token: token, certs: certs, drivers: hex.EncodeToString(b[:])}, err
}

// certified tells whether a request has come with a certificate of the clients' authority, which the handshake has checked.
func (c callers) certified(r *http.Request) bool {
	return c.certs && r.TLS != nil && len(r.TLS.VerifiedChains) > 0
}

// user is whom a request's certificate names; without one, who the caller says that it is.
func (c callers) user(r *http.Request, says string) string {
	if c.certified(r) {
		return cmp.Or(r.TLS.PeerCertificates[0].Subject.CommonName, says)
	}
	return says
}
