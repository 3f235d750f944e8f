package store

import (
	"context"
	"net/url"
	"os"
	"sync"

	"github.com/vista-mr/vista-mr/conf/hadoop"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
)

// S3 opens s3 and s3a URIs: one client of each bucket, whose connections all of the process shares.
var S3 = objects{config: hadoopConfig}

// objects is an opener that takes Hadoop's properties beside the environment.
type objects struct {
	config func() (*hadoop.Config, error)
	once   sync.Once
	opener *s3.Opener
	err    error
}

// Open is a dfs.OpenFunc. Configuration files that cannot be read are an error here, too: without them another store might be
// meant.
func (o *objects) Open(ctx context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
	o.once.Do(func() {
		c, err := o.config()
		if err != nil {
			o.err = err
			return
		}
		props, err := c.Under("fs.s3a.")
		if err != nil {
			o.err = err
			return
		}
		home, err := os.UserHomeDir()
		if err != nil {
			home = "" // then there are no profiles
		}
		o.opener = s3.NewOpener(func() s3.Config { return s3.Config{Env: os.Getenv, Properties: props, Home: home} })
	})
	if o.err != nil {
		return nil, "", o.err
	}
	return o.opener.Open(ctx, u)
}
