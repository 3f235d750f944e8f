// Package hdfs is the dfs adapter for a Hadoop file system, on the client github.com/colinmarc/hdfs.
//
// Invariant: a name appears only by a rename that refuses a taken name, of a file that is closed and as long as what was
// written. Every file begins under a hidden name of sixteen random digits beside its final one, a claim too; so no name
// that others see is ever half, has a lease or can be overwritten, whoever is killed when. Whether a rename whose reply
// was lost has happened is read from the number that HDFS gives every file for life.
//
// A process keeps a few clients, because each does one thing at a time. Calls that find no NameNode, one in safe mode or
// on standby are made again for a while (Options.Patience); writes are not: a writer that has failed stays failed, and
// its caller begins anew. No wait is without an end: a server that is silent for Options.Timeout counts as gone. A
// canceled ctx is noticed between calls.
//
// The client library has no method for some calls that this needs; door.go says how they are made. It can neither read
// nor write files that are erasure-coded or encrypted at rest, which are refused with errs.Invalid. Files of other
// programs are shown as HDFS shows them, also while they are being written.
//
// Callers of the engine use it through package dfs; Opener opens URIs for a dfs.Mux. It reads no configuration file:
// Options say everything.
package hdfs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	hadoop "github.com/colinmarc/hdfs/v2"
	"golang.org/x/sync/singleflight"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options say which cluster, as whom and how. The zero value of a field is its default.
type Options struct {
	Name      string   // what URIs call the cluster: a nameservice, or HOST:PORT
	Addresses []string // its NameNodes, each HOST:PORT; the active one is found
	Unknown   string   // what to say where none of these hosts exists: that a name was taken for one
	User      string   // without Kerberos; default: "hadoop"
	Kerberos  *Kerberos

	Replication         int         // default: the cluster's
	BlockSize           int64       // default: the cluster's
	Perm                os.FileMode // of new folders; default: 0755; files have the same without the right to execute
	UseDatanodeHostname bool        // DataNodes are reached by name and not by address
	DataProtection      string      // "authentication", "integrity", "privacy": the least that DataNodes must offer
	EncryptData         bool        // the cluster encrypts what DataNodes send

	Clients     int           // connections to the NameNode; default: 8
	Timeout     time.Duration // silence of a NameNode after which it counts as gone; default: 10 s
	DataTimeout time.Duration // of a DataNode; default: 10 s
	Patience    time.Duration // how long calls are made again; default: 60 s
	Contact     time.Duration // the same before the cluster has answered for the first time; default: 10 s
}

func (o Options) filled() Options {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.Timeout, 10*time.Second)
	set(&o.DataTimeout, 10*time.Second)
	set(&o.Patience, time.Minute)
	set(&o.Contact, 10*time.Second)
	if o.Clients <= 0 {
		o.Clients = 8
	}
	if o.User == "" {
		o.User = "hadoop"
	}
	if o.Perm == 0 {
		o.Perm = 0o755
	}
	return o
}

func (o Options) filePerm() os.FileMode { return o.Perm &^ 0o111 }

// FS is a folder of a cluster.
type FS struct {
	pool *pool
	opt  Options
	root string // absolute, without a slash at the end; "" is the root of all

	mu     sync.Mutex
	usable map[string]bool // folders of which it is known that files can be written there
	making singleflight.Group
}

var _ dfs.FS = (*FS)(nil)

// New returns the file system below root, an absolute path that need not exist yet. The cluster is asked for when
// something is done. Close ends its connections.
func New(o Options, root string) (*FS, error) {
	o = o.filled()
	p, err := newPool(o)
	if err != nil {
		return nil, err
	}
	return &FS{pool: p, opt: o, root: strings.TrimSuffix(path.Clean("/"+root), "/"), usable: map[string]bool{}}, nil
}

// Below returns the file system of another root, on the same connections.
func (f *FS) Below(root string) *FS {
	return &FS{pool: f.pool, opt: f.opt, root: strings.TrimSuffix(path.Clean("/"+root), "/"), usable: map[string]bool{}}
}

// Close ends the connections. Open files and writers must have been closed.
func (f *FS) Close() error { return f.pool.close() }

// Caps names the adapter.
func (f *FS) Caps() dfs.Caps { return dfs.Caps{Name: "hdfs", BlockHosts: true} }

// Name is the URI of p.
func (f *FS) Name(p dfs.Path) string { return "hdfs://" + f.opt.Name + f.abs(p) }

// abs is the name of p in the cluster.
func (f *FS) abs(p dfs.Path) string {
	if p == "" && f.root != "" {
		return f.root
	}
	return f.root + "/" + string(p)
}

// shown is what errors call p: below the root of everything, where input lies, its URI.
func (f *FS) shown(p dfs.Path) string {
	if f.root == "" {
		return f.Name(p)
	}
	return string(p)
}

// folder checks ctx and path of a call; the root is a folder.
func (f *FS) folder(ctx context.Context, op string, p dfs.Path) error {
	if err := ctx.Err(); err != nil {
		return errs.E(op, errs.Canceled, f.shown(p), err)
	}
	if err := p.Check(); err != nil {
		return err
	}
	if !utf8.ValidString(string(p)) {
		return errs.E(op, errs.Invalid, f.shown(p), errors.New("names in HDFS are UTF-8"))
	}
	return nil
}

// file checks ctx and path of a call on a file.
func (f *FS) file(ctx context.Context, op string, p dfs.Path) error {
	if p == "" {
		return errs.E(op, errs.Invalid, "", errors.New("the root is no file"))
	}
	if isTemp(p.Base()) {
		return errs.E(op, errs.Invalid, f.shown(p), errors.New("names of this form are kept for unfinished files"))
	}
	return f.folder(ctx, op, p)
}

// tempPrefix and tempDigits make the name of an unfinished file.
const (
	tempPrefix = ".tmp-"
	tempDigits = 16
)

// isTemp tells whether the last element of a path is the name of an unfinished file.
func isTemp(base string) bool {
	digits, ok := strings.CutPrefix(base, tempPrefix)
	return ok && len(digits) == tempDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

// newTemp is a name for an unfinished file beside the file p, that nobody has used.
func (f *FS) newTemp(p dfs.Path) (string, error) {
	var id [tempDigits / 2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", err
	}
	return f.abs(p.Dir().Join(tempPrefix + hex.EncodeToString(id[:]))), nil
}

// Stat describes a file.
func (f *FS) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	if err := f.file(ctx, "stat", p); err != nil {
		return dfs.Info{}, err
	}
	st, err := f.stat(ctx, f.abs(p))
	if err == nil && st.GetFileType() != typeFile {
		err = os.ErrNotExist
	}
	if err != nil {
		return dfs.Info{}, f.wrap("stat", p, err)
	}
	return info(p, st), nil
}

func info(p dfs.Path, st *hadoop.FileStatus) dfs.Info {
	return dfs.Info{Path: p, Size: int64(st.GetLength()), ModTime: time.UnixMilli(int64(st.GetModificationTime()))}
}

// stat asks for whatever has the name; os.ErrNotExist: nothing.
func (f *FS) stat(ctx context.Context, name string) (st *hadoop.FileStatus, err error) {
	err = f.pool.do(ctx, f.opt.Patience, func(s *session) error {
		st, err = s.stat(name)
		return err
	})
	return st, err
}

// Remove removes a file. Folders stay, empty ones too: removing them would race with writers that have just made them.
func (f *FS) Remove(ctx context.Context, p dfs.Path) error {
	if err := f.file(ctx, "remove", p); err != nil {
		return err
	}
	err := f.pool.do(ctx, f.opt.Patience, func(s *session) error {
		st, err := s.stat(f.abs(p))
		if err != nil || st.GetFileType() == typeFolder {
			return err
		}
		return s.remove(f.abs(p))
	})
	if kindOf(err) == errs.NotExist {
		return nil
	}
	return f.wrap("remove", p, err)
}

// Claim commits an empty file. A name that somebody is creating or has left open is taken as any other is.
func (f *FS) Claim(ctx context.Context, p dfs.Path) error {
	if err := f.file(ctx, "claim", p); err != nil {
		return err
	}
	if err := f.usableFolder(ctx, p.Dir()); err != nil {
		return f.wrap("claim", p, err)
	}
	var made []string // under hidden names; only the last one's number is known
	var id uint64
	err := f.pool.do(ctx, f.opt.Patience, func(s *session) error {
		temp, err := f.newTemp(p)
		if err != nil {
			return err
		}
		made = append(made, temp)
		id, err = s.createEmpty(temp, f.opt)
		return err
	})
	if err == nil {
		err = f.rename(ctx, made[len(made)-1], f.abs(p), id)
		if err == nil {
			made = made[:len(made)-1]
		}
	}
	f.drop(made)
	return f.wrap("claim", p, err)
}

// rename gives the unfinished file its name, unless that is taken. The number tells our file from others where a reply
// was lost, by us or inside the library, and the call was made twice.
func (f *FS) rename(ctx context.Context, temp, name string, id uint64) error {
	return f.pool.do(ctx, f.opt.Patience, func(s *session) error {
		err := s.rename(temp, name)
		if k := kindOf(err); k == errs.Exist || k == errs.NotExist {
			if st, serr := s.stat(name); serr == nil && id != 0 && st.GetFileId() == id {
				return nil
			}
		}
		return err
	})
}

// drop removes unfinished files as well as it can: what stays is hidden and has no lease for long.
func (f *FS) drop(temps []string) {
	for _, temp := range temps {
		_ = f.dropOne(temp) // see above
	}
}

func (f *FS) dropOne(temp string) error {
	err := f.pool.do(context.Background(), f.opt.Contact, func(s *session) error { return s.remove(temp) })
	if kindOf(err) == errs.NotExist {
		return nil
	}
	return err
}

// maxUsable bounds the folders that are remembered.
const maxUsable = 4096

// usableFolder makes a folder, and refuses one whose files the client library could not write.
func (f *FS) usableFolder(ctx context.Context, dir dfs.Path) error {
	name := f.abs(dir)
	f.mu.Lock()
	known := f.usable[name]
	f.mu.Unlock()
	if known {
		return nil
	}
	// An attempt begins all its files at once, in a folder of its own.
	_, err, shared := f.making.Do(name, func() (any, error) { return nil, f.makeFolder(ctx, name) })
	if shared && errs.Is(err, errs.Canceled) && ctx.Err() == nil { // it was another caller's that ended
		err = f.makeFolder(ctx, name)
	}
	return err
}

func (f *FS) makeFolder(ctx context.Context, name string) error {
	err := f.pool.do(ctx, f.opt.Patience, func(s *session) error {
		st, err := s.stat(name)
		if kindOf(err) == errs.NotExist {
			if err = s.mkdirs(name, f.opt.Perm); err == nil {
				st, err = s.stat(name)
			} else if fileAbove(err) || kindOf(err) == errs.Exist {
				err = errFileAbove
			}
		}
		switch {
		case err != nil:
			return err
		case st.GetFileType() != typeFolder:
			return errFileAbove
		}
		return readable(st)
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.usable) >= maxUsable {
		clear(f.usable)
	}
	f.usable[name] = true
	return nil
}

// forget lets the next writer look for the folder again.
func (f *FS) forget(dir dfs.Path) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.usable, f.abs(dir))
}

// flagCrypt marks what lies in an encryption zone, folders too.
const flagCrypt = 2

// readable refuses what the client library would read or write wrongly.
func readable(st *hadoop.FileStatus) error {
	if ec := st.GetEcPolicy(); ec != nil && !strings.EqualFold(ec.GetName(), "replication") {
		return &errs.Error{Kind: errs.Invalid, ID: "E-HDFS-ERASURE-CODED", Err: errors.New("erasure-coded (policy " + ec.GetName() + "), which this program cannot read or write"),
			Fix: "use a folder with replication (hdfs ec -setPolicy -replicate -path FOLDER), and copy the files into it"}
	}
	if st.GetFileEncryptionInfo() != nil || st.GetFlags()&flagCrypt != 0 {
		return &errs.Error{Kind: errs.Invalid, ID: "E-HDFS-ENCRYPTED", Err: errors.New("in an encryption zone, which this program cannot read or write"),
			Fix: "use a folder outside of encryption zones, and copy the files into it"}
	}
	return nil
}
