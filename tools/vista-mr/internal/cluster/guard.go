package cluster

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/mr/wire"
)

// open are the paths that need no token: they tell nothing of jobs.
func open(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == status.LoginPath || strings.HasPrefix(path, status.Static)
}

// guard lets through who may call the tracker: with a token or certificates whoever has one, without them only programs of this
// machine, and no page that a browser was led to from elsewhere. A browser may have a cookie instead, for reading only.
func guard(who callers, pages, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case who.none() && !loopback(r.Host):
			http.Error(w, "this tracker answers to names of its own machine only", http.StatusForbidden)
			return
		case !reads(r) && !sameOrigin(r):
			http.Error(w, "changes are not taken from pages of other origins", http.StatusForbidden)
			return
		case open(r.URL.Path):
		case r.URL.Path == wire.RunPath || strings.HasPrefix(r.URL.Path, wire.RunPath+"/"):
			// What runs is what a driver has made of a job file: nobody else hands phases in.
			if got, ok := bearer(r); !ok || !isKey(got, who.drivers) {
				http.Error(w, "only drivers of this tracker's jobs may", http.StatusForbidden)
				return
			}
		case !who.none() && !who.certified(r) && !who.hasToken(r):
			h.Set("WWW-Authenticate", `Bearer realm="vista-mr"`)
			if !status.Refused(w, r, pages) {
				http.Error(w, "a token is needed: Authorization: Bearer TOKEN, or open /login", http.StatusUnauthorized)
			}
			return
		}
		next.ServeHTTP(w, r)
	})
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// looks tells whether a request can do no more than look: a connection that is kept goes both ways, whatever method it began with.
func looks(r *http.Request) bool {
	return reads(r) && r.URL.Path != wire.WorkerPath && r.Header.Get("Upgrade") == ""
}

// cookieName holds what a browser has instead of the token.
const cookieName = "vista-mr-token"

// isKey tells whether what somebody has is a key; that there is none lets nobody in.
func isKey(got, key string) bool { return key != "" && same(got, key) }

func bearer(r *http.Request) (token string, ok bool) {
	return strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
}

func (c callers) hasToken(r *http.Request) bool {
	if got, ok := bearer(r); ok {
		return isKey(got, c.token) || isKey(got, c.drivers)
	}
	if looks(r) && c.token != "" {
		if k, err := r.Cookie(cookieName); err == nil {
			return same(k.Value, readKey(c.token))
		}
	}
	return false
}

// readKey is what a browser's cookie holds: whoever finds it can look, and has not got the token.
func readKey(token string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("vista-mr: for reading"))
	return hex.EncodeToString(m.Sum(nil))
}

// login makes the cookie, for the right token.
func login(token string) func(r *http.Request, got string) *http.Cookie {
	if token == "" {
		return nil
	}
	return func(r *http.Request, got string) *http.Cookie {
		if !same(got, token) {
			return nil
		}
		return &http.Cookie{Name: cookieName, Value: readKey(token), Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode}
	}
}

// same compares without telling by its time how much of a guess was right.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// sameOrigin tells whether a change was asked for by a page of this tracker, or by no page at all.
func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin" || site == "none"
	}
	origin := r.Header.Get("Origin")
	_, host, _ := strings.Cut(origin, "://")
	return origin == "" || host == r.Host
}

// loopback tells whether a host of a URL or Host header, with or without a port, is this machine itself.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// checkListen refuses an address that others can reach without a token or certificates.
func checkListen(addr string, who callers) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is no address: write HOST:PORT", addr)
	}
	if who.none() && !loopback(host) {
		return fmt.Errorf("others can reach %s: a token (--token-file), or certificates of clients (--client-ca), are needed", addr)
	}
	return nil
}
