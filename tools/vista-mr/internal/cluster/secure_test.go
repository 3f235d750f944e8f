package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.key, a.cert = a.make("authority", nil)
	return a
}

func (a *authority) make(name string, hosts []string) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: number, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	return key, c
}

// issue writes a certificate and its key.
func (a *authority) issue(dir, name string, hosts ...string) Certificates {
	key, cert := a.make(name, hosts)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	out := Certificates{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	a.write(out.Key, "PRIVATE KEY", der)
	a.write(out.Cert, "CERTIFICATE", cert.Raw)
	return out
}

func (a *authority) write(name, kind string, der []byte) string {
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return name
}

// file is the authority's own certificate in a file.
func (a *authority) file(dir string) string {
	return a.write(filepath.Join(dir, "ca-"+a.cert.SerialNumber.String()+".crt"), "CERTIFICATE", a.cert.Raw)
}

// serve runs a tracker until the test ends.
func serve(t *testing.T, o TrackerOptions) (url string) {
	t.Helper()
	registry, err := mr.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	o.State, o.Stores, o.Registry, o.Scratch, o.Ready = mem.New(), dfs.NewMux(nil), registry, t.TempDir(), func(u string) { ready <- u }
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ServeTracker(ctx, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("tracker: %v", err)
		}
	})
	select {
	case u := <-ready:
		return u
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return ""
}

// call lists the jobs of a tracker, as every command asks it.
func call(t *testing.T, url, token string, c Certificates) error {
	h := c.HTTP(url)
	if h == nil {
		h = &http.Client{Transport: &http.Transport{}}
	}
	defer h.CloseIdleConnections()
	_, err := (&Client{URL: url, Token: token, HTTP: h}).Jobs(t.Context())
	return err
}

func TestTrackerWithACertificate(t *testing.T) {
	dir := t.TempDir()
	a, other := newAuthority(t), newAuthority(t)
	own := a.issue(dir, "tracker", "tracker.example") // not the name that is dialed
	url := serve(t, TrackerOptions{Token: "s3cret", TLS: own})
	if !strings.HasPrefix(url, "https://") {
		t.Errorf("it listens at %s", url)
	}
	pinned := Certificates{CA: own.Cert}
	byAddress := a.issue(dir, "other-tracker", "127.0.0.1")
	if err := call(t, serve(t, TrackerOptions{Token: "s3cret", TLS: byAddress}), "s3cret", Certificates{CA: a.file(dir)}); err != nil {
		t.Errorf("by the authority, for an address: %v", err)
	}
	if err := call(t, url, "s3cret", pinned); err != nil {
		t.Errorf("with the tracker's own certificate: %v", err)
	}
	var said interface{ Hint() string }
	for name, c := range map[string]Certificates{"authorities of the system": {}, "another authority": {CA: other.file(dir)}, "the authority, and another name": {CA: a.file(dir)}} {
		if err := call(t, url, "s3cret", c); exit.Code(err) != int(exit.Unreachable) || !errors.As(err, &said) || !strings.Contains(said.Hint(), "--ca") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := call(t, url, "wrong", pinned); exit.Code(err) != int(exit.Unreachable) || !strings.Contains(err.Error(), "401") {
		t.Errorf("a wrong token: %v", err)
	}
	if err := call(t, "http"+strings.TrimPrefix(url, "https"), "s3cret", Certificates{}); err == nil {
		t.Error("it answers without TLS")
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), old); err == nil {
		t.Errorf("TLS 1.1 is spoken (close: %v)", c.Close())
	}
}

// TestCertificateIsReplaced: a tracker shows the new one without being started anew.
func TestCertificateIsReplaced(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t)
	own := a.issue(dir, "tracker", "localhost")
	url := strings.Replace(serve(t, TrackerOptions{Token: "s3cret", TLS: own}), "127.0.0.1", "localhost", 1)
	before, err := os.ReadFile(own.Cert)
	if err != nil {
		t.Fatal(err)
	}
	was := filepath.Join(dir, "was.crt")
	if err := os.WriteFile(was, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := call(t, url, "s3cret", Certificates{CA: was}); err != nil {
		t.Fatal(err)
	}
	a.issue(dir, "tracker", "localhost")
	for _, name := range []string{own.Cert, own.Key} { // a file system's clock may be coarse
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := call(t, url, "s3cret", Certificates{CA: was}); err == nil {
		t.Error("it shows the old one")
	}
	if err := call(t, url, "s3cret", Certificates{CA: own.Cert}); err != nil {
		t.Errorf("the new one: %v", err)
	}
	if err := call(t, url, "s3cret", Certificates{CA: a.file(dir)}); err != nil {
		t.Errorf("by its authority: %v", err)
	}
	if err := os.WriteFile(own.Cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := call(t, url, "s3cret", Certificates{CA: a.file(dir)}); err != nil {
		t.Errorf("with a file that cannot be read: %v", err)
	}
}

// TestCertificatesInPlaceOfAToken: with an authority of clients the tracker may listen to others, and lets in whom that has signed.
func TestCertificatesInPlaceOfAToken(t *testing.T) {
	dir := t.TempDir()
	a, other := newAuthority(t), newAuthority(t)
	own := a.issue(dir, "tracker", "localhost")
	ca := a.file(dir)
	url := serve(t, TrackerOptions{Listen: "0.0.0.0:0", TLS: Certificates{Cert: own.Cert, Key: own.Key, CA: ca}})
	url = "https://localhost" + url[strings.LastIndexByte(url, ':'):]
	client, stranger := a.issue(dir, "ann"), other.issue(dir, "eve")
	client.CA, stranger.CA = ca, ca
	if err := call(t, url, "", client); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := call(t, url, "", Certificates{CA: ca}); exit.Code(err) != int(exit.Unreachable) || !strings.Contains(err.Error(), "401") {
		t.Errorf("without one: %v", err)
	}
	if err := call(t, url, "", stranger); err == nil {
		t.Error("a certificate of another authority is taken")
	}
}

func TestCertificatesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	one := newAuthority(t).issue(dir, "one")
	two := newAuthority(t).issue(dir, "two")
	for name, c := range map[string]Certificates{"no key": {Cert: one.Cert}, "no certificate": {Key: one.Key}, "another's key": {Cert: one.Cert, Key: two.Key},
		"nothing there": {CA: filepath.Join(dir, "none")}, "no certificate in it": {CA: one.Key}} {
		if c.Check() == nil {
			t.Errorf("%s: fine", name)
		}
	}
	if err := one.Check(); err != nil {
		t.Error(err)
	}
}
