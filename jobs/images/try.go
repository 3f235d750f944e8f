package images

import (
	"context"
	"fmt"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// tries is how many paths TryPaths looks up at most, and worthTrying the least number of paths for which it does: the images of
// a small table are read soon enough.
const (
	tries       = 100
	worthTrying = 1000
)

// TryPaths looks up some of the paths that a table names, spread over all of it. If none of them names a file, the folder that
// they are relative to, or the column, is most likely the wrong one, which is said (SourceError) before a million is tried.
// What else can be wrong with a path is left to those who read it.
func (x *Index) TryPaths(ctx context.Context, r Resolver) error {
	if len(x.entries) < worthTrying {
		return nil
	}
	for i := range tries {
		u := &x.units[x.entries[i*(len(x.entries)-1)/(tries-1)].unit]
		fs, p, err := r.Resolve(ctx, u.uri())
		if err == nil {
			_, err = fs.Stat(ctx, p)
		}
		if !errs.Is(err, errs.NotExist) {
			return ctx.Err()
		}
	}
	return &SourceError{Key: "images.column", Path: x.units[x.entries[0].unit].uri(),
		Cause: fmt.Sprintf("does not exist, nor does any other of %d files that were looked for, of %d in the table", tries, len(x.entries)),
		Fix:   "check images.column, and images.uri, which relative paths start from"}
}
