package cluster

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
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

// swept is a store that is told where to remove what is unfinished.
type swept struct {
	dfs.FS
	dirs []dfs.Path
}

func (s *swept) Sweep(_ context.Context, dir dfs.Path) error {
	s.dirs = append(s.dirs, dir)
	return nil
}

// TestATrackerRemovesNothingOfOthers when it starts: beside its own folders others may be writing, and unfinished files say not whose they are.
func TestATrackerRemovesNothingOfOthers(t *testing.T) {
	store := &swept{FS: mem.New()}
	registry, err := mr.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	if err := ServeTracker(ctx, TrackerOptions{Listen: "127.0.0.1:0", State: store, Stores: dfs.NewMux(nil), Registry: registry, Scratch: t.TempDir(), Ready: func(string) { end() }}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range store.dirs {
		if dir == "" {
			t.Error("it sweeps the whole folder")
		}
	}
	// All that a tracker writes lies where it sweeps.
	m := newJobs(t, store, &drive{}, 0)
	submitted(t, m, "a")
	for info, err := range store.List(t.Context(), "") {
		if err != nil || !slices.ContainsFunc(store.dirs, info.Path.Under) {
			t.Errorf("%s is not below %v: %v", info.Path, store.dirs, err)
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
