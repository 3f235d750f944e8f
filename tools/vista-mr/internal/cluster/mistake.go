package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// mistake is what to change about how a tracker is called, where calling again as it is cannot help; "": it may, since a tracker that does
// not listen, a name that nobody knows yet, or a gateway without a tracker behind it may be there later.
func mistake(err error) string {
	var invalid x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	var status *wire.StatusError
	switch {
	case early(err):
		return "" // its time comes, or this machine's clock is put right
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "give the tracker a certificate that is good now (vista-mr tracker --cert), and see that both machines have the right time"
	case distrusted(err):
		return "give --ca the tracker's certificate, or that of who has signed it"
	case distrusts(err):
		return "give --cert and --key a certificate that the tracker takes (its --client-ca), or a token in their place"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return "the tracker speaks no TLS at this address: write http://HOST:PORT"
	case !errors.As(err, &status):
		return ""
	case status.Code == http.StatusBadRequest && strings.Contains(status.Says, "HTTPS server"): // so says Go's
		return "the tracker speaks TLS at this address: write https://HOST:PORT"
	case status.Code < 400, status.Code == http.StatusMethodNotAllowed:
		return "check the tracker's address, and that the tracker is of this program's version: write http://HOST:PORT"
	}
	return ""
}

// advice is what to look at where nothing needs to be changed for a call to succeed later; "": nothing special.
func advice(err error) string {
	var status *wire.StatusError
	switch {
	case early(err):
		return "the tracker's certificate is not valid yet: see that this machine's clock is right, and the tracker's"
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return "check the tracker's address, and that a tracker of this program's version runs behind it: write http://HOST:PORT"
	}
	return ""
}

// early tells whether the tracker's certificate is not valid yet, as this machine's clock has it. The library calls that expired too.
func early(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore)
}

// distrusted tells whether it is the tracker's certificate that a connection has failed for.
func distrusted(err error) bool {
	var library *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &library) || errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid)
}

// distrusts tells whether the tracker has refused this side's certificate. What it says then has no type of its own.
func distrusts(err error) bool {
	var said *net.OpError
	return errors.As(err, &said) && said.Op == "remote error" && strings.Contains(said.Err.Error(), "certificate")
}

// checkURL refuses what is no address of a tracker: exit class usage.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return exit.As(exit.Usage, fmt.Errorf("%q is no address of a tracker: write http://HOST:PORT", s))
	}
	return nil
}

// hopeless is the failure of a worker that can never join as it was started; nil: it may.
func hopeless(tracker string) func(error) error {
	return func(err error) error {
		fix := mistake(err)
		if fix == "" {
			return nil
		}
		return &errs.Error{Op: "worker", Kind: errs.Unreachable, ID: "E-TRACKER", Path: tracker, Err: err, Fix: fix}
	}
}
