package cluster

import (
	"context"
	"net"
	"net/http"
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

// TestDriversReachTheirTracker: at an address that can be dialled, wherever it listens, and past proxies, which Go asks for all addresses but
// those of the loopback.
func TestDriversReachTheirTracker(t *testing.T) {
	for listens, want := range map[string]string{"127.0.0.1:7531": "127.0.0.1:7531", "10.1.2.3:7531": "10.1.2.3:7531", "[::1]:7531": "[::1]:7531",
		"0.0.0.0:7531": "127.0.0.1:7531", "[::]:7531": "127.0.0.1:7531"} {
		a, err := net.ResolveTCPAddr("tcp", listens)
		if err != nil {
			t.Fatal(err)
		}
		if got := fromHere(a); got != want {
			t.Errorf("a tracker at %s is dialled at %s, want %s", listens, got, want)
		}
	}
	for name, l := range map[string]string{"IPv4": "0.0.0.0:0", "all": ":0"} {
		at, err := net.Listen("tcp", l)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := net.Dial("tcp", fromHere(at.Addr())); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := at.Close(); err != nil {
			t.Error(err)
		}
	}
	direct, ok := Certificates{}.Direct("http://10.1.2.3:7531").Transport.(*http.Transport)
	if !ok || direct.Proxy != nil {
		t.Error("a driver asks a proxy for its tracker")
	}
	if usual, ok := http.DefaultTransport.(*http.Transport); !ok || usual.Proxy == nil {
		t.Error("nobody else asks one any more")
	}
}
