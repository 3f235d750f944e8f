package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// exclusive are the file systems of which it is known that they refuse a name that is taken: the system call, or the NameNode,
// does.
var exclusive = map[string]bool{"local": true, "hdfs": true, "mem": true}

// Exclusive refuses a store that lets a name be taken twice, with E-S3-LACKING (errs.Invalid): results could be lost or mixed there. It is
// what a job can afford before it begins, six requests, and none on file systems that are known. What passes may still lack
// something that only Run finds.
func Exclusive(ctx context.Context, fs dfs.FS, dir dfs.Path) error {
	if exclusive[fs.Caps().Name] {
		return nil
	}
	dir = dir.Join(fresh())
	claim, file := dir.Join("claim"), dir.Join("file")
	err := twice("claimed", func() error { return fs.Claim(ctx, claim) })
	if err == nil {
		err = twice("written", func() error { return put(ctx, fs, file, []byte(file)) })
	}
	ctx = context.WithoutCancel(ctx)
	tidy := errors.Join(fs.Remove(ctx, claim), fs.Remove(ctx, file))
	if err != nil {
		return err // that the store could not be tidied is a consequence, or less important
	}
	return tidy
}

// twice takes a name and takes it again, which must be refused.
func twice(what string, take func() error) error {
	err := take()
	if err == nil {
		err = take()
	}
	switch {
	case err == nil:
		return &errs.Error{Op: "probe", Kind: errs.Invalid, ID: "E-S3-LACKING",
			Err: fmt.Errorf("the store lets one name be %s twice (it does not heed If-None-Match), so results could be lost or mixed", what), Fix: otherStore + "; vista-mr doctor tells more"}
	case errs.Is(err, errs.Exist):
		return nil
	}
	return err
}
