package run

import (
	"errors"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestStoreThatIgnoresConditionsIsRefused before a job computes anything, and nothing is left there; one that heeds them is not.
func TestStoreThatIgnoresConditionsIsRefused(t *testing.T) {
	for _, ignores := range []bool{true, false} {
		fake := s3test.NewFake(t)
		fake.IgnoresPut = ignores
		bucket(t, s3test.FS(t, fake.Config()))
		c, err := ClaimOutput(t.Context(), job(t, "s3://bucket/out"))
		var id interface{ ErrorID() string }
		switch {
		case !ignores:
			if err != nil || c.Close() != nil {
				t.Errorf("a good store: %v", err)
			}
		case !errors.As(err, &id) || id.ErrorID() != "E-S3-LACKING" || exit.Code(err) != int(exit.Invalid) || len(fake.Keys()) > 0:
			t.Errorf("got %v (exit code %d), and %q is left", err, exit.Code(err), fake.Keys())
		}
	}
}
