package cluster

import (
	"context"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestAStateThatCannotBeUsed: the message names it, and what the store has said of it keeps its id.
func TestAStateThatCannotBeUsed(t *testing.T) {
	o := TrackerOptions{StateURI: "hdfs://ns/state"}
	for _, c := range []struct {
		err  error
		id   string
		code exit.Class
	}{
		{errs.E("claim", errs.NotExist, "epochs/1", nil), "E-STATE", exit.Invalid},
		{errs.E("claim", errs.Invalid, "epochs/1", nil), "E-STATE", exit.Invalid},
		{errs.E("claim", errs.Unauthorized, "/srv/epochs", nil), "E-STATE", exit.Invalid},
		{errs.E("claim", errs.Unauthorized, "hdfs://ns/state/epochs", nil), "E-UNAUTHORIZED", exit.Unreachable},
		{errs.E("claim", errs.NoSpace, "epochs/1", nil), "E-NO-SPACE", exit.Invalid},
		{errs.E("claim", errs.Unreachable, "hdfs://ns", nil), "E-UNREACHABLE", exit.Unreachable},
		{&errs.Error{Op: "claim", Kind: errs.Unreachable, ID: "E-HDFS-UNREACHABLE", Err: context.DeadlineExceeded}, "E-HDFS-UNREACHABLE", exit.Unreachable},
		{&errs.Error{Op: "probe", Kind: errs.Invalid, ID: "E-STORE", Err: context.Canceled, Fix: "use another store"}, "E-STORE", exit.Invalid},
	} {
		err := o.stateError(c.err)
		if id := errs.Of("", err).ErrorID(); id != c.id || exit.Code(err) != int(c.code) || !strings.Contains(err.Error(), "--state hdfs://ns/state: ") {
			t.Errorf("%v is %s with exit code %d, want %s with %d", err, id, exit.Code(err), c.id, c.code)
		}
	}
}
