package dfs

import (
	"context"
	"fmt"
	"net/url"
	"sort"
	"strings"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// OpenFunc opens the file system of a URI and returns it with the path that the URI names.
type OpenFunc func(ctx context.Context, u *url.URL) (FS, Path, error)

// Mux opens URIs by their scheme. It is filled once and then only read. A bare path has the
// scheme "file".
type Mux struct {
	schemes map[string]OpenFunc
}

// NewMux returns a Mux of the given schemes.
func NewMux(schemes map[string]OpenFunc) *Mux {
	m := &Mux{schemes: map[string]OpenFunc{}}
	for s, open := range schemes {
		m.schemes[s] = open
	}
	return m
}

// Resolve finds the file system and path of a URI.
func (m *Mux) Resolve(ctx context.Context, uri string) (FS, Path, error) {
	u, err := ParseURI(uri)
	if err != nil {
		return nil, "", err
	}
	open, ok := m.schemes[u.Scheme]
	if !ok {
		e := errs.E("open", errs.Invalid, uri, fmt.Errorf("scheme %q is not supported", u.Scheme)).(*errs.Error)
		e.ID, e.Fix = "E-URI-SCHEME", "use one of: "+strings.Join(m.Schemes(), ", ")
		return nil, "", e
	}
	return open(ctx, u)
}

// Schemes lists what is supported, sorted.
func (m *Mux) Schemes() []string {
	var out []string
	for s := range m.schemes {
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}

// ParseURI reads a URI or bare path. A bare path may hold any byte, '%' and '?' included.
func ParseURI(uri string) (*url.URL, error) {
	i := strings.Index(uri, "://")
	if !HasScheme(uri) {
		if uri == "" || strings.IndexByte(uri, 0) >= 0 {
			return nil, errs.E("open", errs.Invalid, uri, fmt.Errorf("%q is no path", uri))
		}
		return &url.URL{Scheme: "file", Path: uri}, nil
	}
	// The path is taken literally, as Hadoop does: keys with '%' or '?' in their names exist.
	rest := uri[i+3:]
	host, path, _ := strings.Cut(rest, "/")
	return &url.URL{Scheme: strings.ToLower(uri[:i]), Host: host, Path: "/" + path}, nil
}

// HasScheme tells whether what a user wrote is a URI and not a bare path.
func HasScheme(uri string) bool {
	i := strings.Index(uri, "://")
	return i > 0 && strings.IndexByte(uri[:i], '/') < 0
}
