package s3_test

import (
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
)

// suite is the suite of all adapters with a store of the given settings.
func suite(c func(t testing.TB) s3.Config) dfstest.Case {
	return dfstest.Case{
		Many: 1100, // more than a page; a claim is a request
		New:  func(t testing.TB) dfs.FS { return s3test.FS(t, c(t)) },
		Other: func(t testing.TB, fs dfs.FS) dfs.FS {
			other, err := fs.(*s3.FS).Again()
			if err != nil {
				t.Fatal(err)
			}
			return other
		},
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for _, kind := range s3test.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := s3test.Start(t, kind)
			dfstest.Run(t, suite(func(testing.TB) s3.Config { return s.Config() }))
		})
	}
}

func BenchmarkStore(b *testing.B) {
	for _, kind := range s3test.Kinds {
		b.Run("server="+kind, func(b *testing.B) {
			s := s3test.Start(b, kind)
			dfstest.Bench(b, suite(func(testing.TB) s3.Config { return s.Config() }))
		})
	}
}
