package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

var (
	shardName  = regexp.MustCompile(`^part-(\d{5,9})\.avro$`)
	keysName   = regexp.MustCompile(`^_part-\d{5,9}\.keys$`)
	lookupName = regexp.MustCompile(`^_index-(\d{5,9})\.lookup$`)
)

func shardPath(dir dfs.Path, n int) dfs.Path { return dir.Join(fmt.Sprintf("part-%05d.avro", n)) }

func lookupPath(dir dfs.Path, shards int) dfs.Path { return dir.Join(images.LookupName(shards)) }

// OutputError says that the folder for the shards cannot be used.
type OutputError struct {
	Path  string
	Cause string
	Fix   string
}

func (e *OutputError) Error() string { return e.Path + ": " + e.Cause }

// ErrorID is stable.
func (e *OutputError) ErrorID() string { return "E-PACK-OUTPUT" }

// Input is the folder.
func (e *OutputError) Input() string { return e.Path }

// Hint says what to do.
func (e *OutputError) Hint() string { return e.Fix }

// folder is what a packed folder holds.
type folder struct {
	fs      dfs.FS
	dir     dfs.Path
	shards  []dfs.Info // by number
	lookups []int      // shards that each lookup file covers
	known   map[string]bool
	places  []place // of all records, in the order of the shards
	images  int64
	bytes   int64
}

// openFolder looks at the folder, makes it ours if it is empty, and lists the keys of its shards.
func openFolder(ctx context.Context, fs dfs.FS, dir dfs.Path, name string) (*folder, error) {
	f := &folder{fs: fs, dir: dir, known: map[string]bool{}}
	ours, other := false, ""
	for info, err := range fs.List(ctx, dir) {
		if err != nil {
			return nil, err
		}
		base := info.Path.Base()
		switch m := shardName.FindStringSubmatch(base); {
		case info.Path.Dir() != dir:
			other = string(info.Path)
		case base == images.PackMarker:
			ours = true
		case m != nil:
			f.shards = append(f.shards, info)
		case keysName.MatchString(base):
		case lookupName.MatchString(base):
			n, _ := strconv.Atoi(lookupName.FindStringSubmatch(base)[1]) // digits, and not too many
			f.lookups = append(f.lookups, n)
		default:
			other = base
		}
	}
	if !ours {
		if other == "" && len(f.shards) > 0 {
			other = f.shards[0].Path.Base()
		}
		if other != "" {
			return nil, &OutputError{Path: name, Cause: fmt.Sprintf("holds %s, so it is no packed folder", other), Fix: "choose a new folder, or one that vista-mr pack has made"}
		}
		if err := dfs.WriteFile(ctx, fs, dir.Join(images.PackMarker), []byte(`{"version": 1}`+"\n")); err != nil && !errs.Is(err, errs.Exist) {
			return nil, err
		}
	}
	slices.SortFunc(f.shards, func(a, b dfs.Info) int { // by number, which may outgrow five digits
		return cmp.Or(len(a.Path)-len(b.Path), strings.Compare(string(a.Path), string(b.Path)))
	})
	for i, s := range f.shards {
		if s.Path != shardPath(dir, i) {
			return nil, &OutputError{Path: name, Cause: fmt.Sprintf("shard %d is missing", i), Fix: "pack into a new folder"}
		}
		if err := f.keys(ctx, i, s); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// keys learns the keys of a shard from the list beside it, or makes the list again.
func (f *folder) keys(ctx context.Context, shard int, s dfs.Info) error {
	var all []images.Located
	take := func(l images.Located) error {
		all = append(all, l)
		return nil
	}
	ok, err := images.ReadKeys(ctx, f.fs, s.Path, s.Size, take)
	if err == nil && !ok {
		all = all[:0]
		if err = images.Shard(ctx, f.fs, s.Path, take); err == nil {
			err = f.writeKeys(ctx, s.Path, s.Size, all)
		}
	}
	if err != nil {
		return err
	}
	f.add(shard, s.Size, all)
	return nil
}

func (f *folder) writeKeys(ctx context.Context, shard dfs.Path, size int64, all []images.Located) error {
	b, err := images.EncodeKeys(size, all)
	if err != nil {
		return err
	}
	p := images.KeysPath(shard)
	// A list of another shard of that name would be one that somebody has put there.
	return errors.Join(f.fs.Remove(ctx, p), dfs.WriteFile(ctx, f.fs, p, b))
}

// add notes what a shard holds.
func (f *folder) add(shard int, size int64, all []images.Located) {
	f.bytes += size
	f.images += int64(len(all))
	for i, l := range all {
		end := l.At + l.Size
		if i > 0 && all[i-1].Key == l.Key {
			p := &f.places[len(f.places)-1]
			p.size = end - p.at
			continue
		}
		if f.known[l.Key] {
			continue // the first stays
		}
		f.known[l.Key] = true
		start := l.At - int64(headLen(l.Key, l.Size))
		f.places = append(f.places, place{key: l.Key, shard: shard, at: start, size: end - start})
	}
}
