package cluster

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// open are the paths that need no token: they tell nothing of jobs.
var open = map[string]bool{"/healthz": true, "/readyz": true}

// guard lets through who may call the tracker: with a token whoever has it, without one only programs of this machine, and no
// page that a browser was led to from elsewhere. A browser may have the token as a cookie, for reading only.
func guard(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		switch {
		case open[r.URL.Path]:
		case token == "" && !loopback(r.Host):
			http.Error(w, "this tracker answers to names of its own machine only", http.StatusForbidden)
			return
		case token != "" && !hasToken(r, token):
			h.Set("WWW-Authenticate", `Bearer realm="vista-mr"`)
			http.Error(w, "a token is needed: Authorization: Bearer TOKEN, or open /login", http.StatusUnauthorized)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get("Origin") != "" && !sameOrigin(r):
			http.Error(w, "changes are not taken from pages of other origins", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// cookieName holds the token of a browser.
const cookieName = "vista-mr-token"

func hasToken(r *http.Request, token string) bool {
	if got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return same(got, token)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if c, err := r.Cookie(cookieName); err == nil {
			return same(c.Value, token)
		}
	}
	return false
}

// same compares without telling by its time how much of a guess was right.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func sameOrigin(r *http.Request) bool {
	_, host, _ := strings.Cut(r.Header.Get("Origin"), "://")
	return host == r.Host
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

// checkListen refuses an address that others can reach without a token.
func checkListen(addr, token string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is no address: write HOST:PORT", addr)
	}
	if token == "" && !loopback(host) {
		return fmt.Errorf("others can reach %s: a token is needed", addr)
	}
	return nil
}
