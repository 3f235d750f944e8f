package hdfs

import (
	"context"
	"errors"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Opener opens the URIs of clusters for a dfs.Mux: each cluster once, with the root of all as root, so that input may
// lie anywhere.
type Opener struct {
	// Resolve says what the host part of a URI means.
	Resolve func(authority string) (Options, error)

	mu   sync.Mutex
	open map[string]*FS
}

// Open is a dfs.OpenFunc. No connection is made yet.
func (o *Opener) Open(ctx context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
	uri := u.Scheme + "://" + u.Host + u.Path
	if err := ctx.Err(); err != nil {
		return nil, "", errs.E("open", errs.Canceled, uri, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.open[u.Host]
	if f == nil {
		opt, err := o.Resolve(u.Host)
		if err == nil {
			f, err = New(opt, "/")
		}
		if err != nil {
			return nil, "", errs.E("open", errs.KindOf(err), uri, err)
		}
		if o.open == nil {
			o.open = map[string]*FS{}
		}
		o.open[u.Host] = f
	}
	return f, dfs.Path(strings.TrimPrefix(path.Clean("/"+u.Path), "/")), nil
}

// Close ends all connections.
func (o *Opener) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []error
	for _, f := range o.open {
		all = append(all, f.Close())
	}
	o.open = nil
	return errors.Join(all...)
}
