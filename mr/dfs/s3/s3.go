// Package s3 is the dfs adapter for S3 and what speaks its protocol.
//
// Invariant: an object appears only by a PUT or the completion of a multipart upload that
// carries "If-None-Match: *", so of any number of racers for a name the store lets one through;
// and every object carries a token of its writer, so a writer whose reply was lost, and that the
// store then refuses because of its own object, knows it for its own. Nothing is ever listed to
// find out what is true.
//
// The steps behind the interface, in store calls: a commit is one PUT up to a part's size, and
// above it one call to begin, one for each part and one to complete; a claim is one PUT; a lost
// race costs one HEAD more, to look for the token. Opening reads the beginning of the object in
// the same call, so a small file is read with one. Reads carry the ETag that was met at opening.
//
// All calls are tried again while the store does not answer, for a bounded time (Config.Patience),
// and no call waits for ever: a connection on which nothing moves for Config.Stall is given up.
// The library's own repetitions are off.
//
// An object whose key ends in "/" stands for an empty folder and is not shown. Any other key that
// is no clean path makes a listing fail and say so, because to leave it out would lose data.
// A writer's process that dies leaves the parts of an upload, which nobody sees and which cost
// money: Sweep ends them, and dfs.RemoveAll calls it.
//
// Callers give Open to a dfs.Mux, or make an FS of a bucket and a folder in it. The package
// neither creates buckets nor sets their rules, and knows nothing of versions.
package s3

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// FS is a bucket, or a folder in one.
type FS struct {
	*bucket
	root string // of keys, with a slash behind it, or ""
}

// bucket is what the folders of a bucket share.
type bucket struct {
	name     string
	settings *settings
	core     *minio.Core
	sign     *chain
	stall    time.Duration
	patience time.Duration
	partSize int
	parts    sync.Pool    // of *[]byte, each of partSize
	met      atomic.Bool  // the store has answered
	sure     atomic.Bool  // the bucket is there
	skew     atomic.Int64 // the store's clock less ours in nanoseconds, as of the last answer
	dated    atomic.Int64 // when that was, in Unix seconds; 0: never
	losing   bool         // replies are lost on purpose
	config   Config
}

var _ dfs.FS = (*FS)(nil)

// New returns the file system below a folder of a bucket; "" is the whole bucket. It does not
// call the store. What the settings say wrongly is errs.Invalid.
func New(name string, root dfs.Path, c Config) (*FS, error) {
	if err := root.Check(); err != nil {
		return nil, err
	}
	b, err := newBucket(name, c)
	if err != nil {
		return nil, err
	}
	return b.below(root), nil
}

// Below returns the file system of a folder, which shares the client; its paths begin there. A job's own
// store is made so of what a dfs.Mux has opened.
func (f *FS) Below(dir dfs.Path) (*FS, error) {
	if err := dir.Check(); err != nil {
		return nil, err
	}
	return f.bucket.below(dfs.Path(strings.TrimSuffix(f.root, "/")).Join(string(dir))), nil
}

func (b *bucket) below(root dfs.Path) *FS {
	if root == "" {
		return &FS{bucket: b}
	}
	return &FS{bucket: b, root: string(root) + "/"}
}

// Opener opens the URIs of a dfs.Mux, s3://BUCKET/KEY. The file system is the whole bucket, and
// is the same one for as long as the settings are, so that its connections are shared.
type Opener struct {
	config func() Config
	mu     sync.Mutex
	open   map[string]*FS
}

// NewOpener returns an Opener with the settings that config tells each time; it is not called by
// two at once.
func NewOpener(config func() Config) *Opener { return &Opener{config: config, open: map[string]*FS{}} }

// Open is a dfs.OpenFunc.
func (o *Opener) Open(_ context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
	p := dfs.Path(strings.Trim(u.Path, "/"))
	if err := p.Check(); err != nil {
		return nil, "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.config()
	s, err := readSettings(u.Host, c)
	if err != nil {
		return nil, "", err
	}
	if f := o.open[u.Host]; f != nil && *f.settings == *s {
		return f, p, nil
	}
	f, err := New(u.Host, "", c)
	if err != nil {
		return nil, "", err
	}
	o.open[u.Host] = f
	return f, p, nil
}

// Caps names the adapter. A file has at most 10,000 parts.
func (f *FS) Caps() dfs.Caps { return dfs.Caps{Name: "s3", MaxObject: int64(f.partSize) * maxParts} }

// Name is the URI of p.
func (f *FS) Name(p dfs.Path) string {
	return "s3://" + f.bucket.name + "/" + strings.TrimSuffix(f.root+string(p), "/")
}

// Settings describes where the store is and who asks, for a person; there are no secrets in it.
func (f *FS) Settings() []string { return f.describe() }

// Skew is how far the store's clock is ahead of ours, as of its last answer; false: there was none.
func (f *FS) Skew() (time.Duration, bool) {
	return time.Duration(f.skew.Load()), f.dated.Load() != 0
}

// key is the name of the file p in the bucket.
func (f *FS) key(ctx context.Context, op string, p dfs.Path) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", errs.E(op, errs.Canceled, string(p), err)
	}
	if p == "" {
		return "", errs.E(op, errs.Invalid, "", errors.New("the root is no file"))
	}
	if err := p.Check(); err != nil {
		return "", err
	}
	return f.root + string(p), nil
}

// Stat asks for an object's head.
func (f *FS) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	key, err := f.key(ctx, "stat", p)
	if err != nil {
		return dfs.Info{}, err
	}
	info, err := f.head(ctx, key)
	if err != nil {
		return dfs.Info{}, f.fail(ctx, "stat", p, err)
	}
	return dfs.Info{Path: p, Size: info.Size, ModTime: info.LastModified}, nil
}

func (f *FS) head(ctx context.Context, key string) (info minio.ObjectInfo, err error) {
	err = f.try(ctx, func() error {
		info, err = f.core.StatObject(ctx, f.bucket.name, key, minio.StatObjectOptions{})
		return err
	})
	return info, err
}

// Claim puts an empty object.
func (f *FS) Claim(ctx context.Context, p dfs.Path) error {
	key, err := f.key(ctx, "claim", p)
	if err != nil {
		return err
	}
	if err := f.put(ctx, key, nil, newToken()); err != nil {
		return f.fail(ctx, "claim", p, err)
	}
	return nil
}

// Remove deletes an object. The store does not say whether there was one.
func (f *FS) Remove(ctx context.Context, p dfs.Path) error {
	key, err := f.key(ctx, "remove", p)
	if err != nil {
		return err
	}
	err = f.try(ctx, func() error {
		return f.core.RemoveObject(ctx, f.bucket.name, key, minio.RemoveObjectOptions{})
	})
	if err != nil && !isAbsent(err) && !isFolder(err) {
		return f.fail(ctx, "remove", p, err)
	}
	return nil
}
