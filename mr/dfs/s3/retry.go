package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
)

// Pauses between tries double from the first to the longest. A store that has never answered is
// most likely named wrongly, so the user hears of it soon.
const (
	firstPause    = 50 * time.Millisecond
	longestPause  = 2 * time.Second
	patienceFirst = 4 * time.Second
)

// patience says how long something is tried again.
type patience struct {
	b     *bucket
	begun time.Time
	tries int
}

func (b *bucket) patient() *patience { return &patience{b: b, begun: time.Now()} }

// moved says that there was progress: the time begins anew.
func (t *patience) moved() { t.begun, t.tries = time.Now(), 0 }

// again waits before another try, or says that there is none: what failed will fail again, it was tried
// for long enough, or ctx is done.
func (t *patience) again(ctx context.Context, err error) bool {
	limit := t.b.patience
	if answered(err) {
		t.b.met.Store(true)
	} else if !t.b.met.Load() {
		limit = min(limit, patienceFirst)
	}
	if ctx.Err() != nil || !passing(err) {
		return false
	}
	pause := min(firstPause<<min(t.tries, 10), longestPause)
	pause = pause/2 + rand.N(pause/2+1) // those that failed together shall not come back together
	if time.Since(t.begun)+pause > limit {
		return false
	}
	t.tries++
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// try calls until it works, for a bounded time.
func (b *bucket) try(ctx context.Context, call func() error) error {
	for t := b.patient(); ; {
		err := call()
		if err == nil {
			b.met.Store(true)
			return nil
		}
		if !t.again(ctx, err) {
			return err
		}
	}
}

// response is what the store has answered, if err is such an answer.
func response(err error) (minio.ErrorResponse, bool) {
	var r minio.ErrorResponse
	ok := errors.As(err, &r)
	return r, ok
}

// answered tells whether the error came from the store itself.
func answered(err error) bool {
	r, ok := response(err)
	return ok && r.StatusCode != 0 && r.StatusCode < 500
}

// passing tells whether another try may help.
func passing(err error) bool {
	r, ok := response(err)
	if !ok {
		return !hopeless(err) && !errors.Is(err, context.Canceled)
	}
	switch r.StatusCode {
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	case http.StatusRequestTimeout, http.StatusTooManyRequests, 499:
		return true
	case http.StatusConflict: // two writers of one name at once: the store cannot tell yet who wins
		return r.Code == "ConditionalRequestConflict" || r.Code == "OperationAborted" || r.Code == minio.Conflict
	}
	switch r.Code {
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "RequestTimeout", "ServiceUnavailable":
		return true
	case "XMinioStorageFull", "QuotaExceeded", "InsufficientStorage":
		return false
	}
	return r.StatusCode >= 500
}

// hopeless are failures to connect that no second try changes.
func hopeless(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &header) ||
		errors.Is(err, http.ErrSchemeMismatch)
}
