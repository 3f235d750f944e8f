package wire

import (
	"cmp"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// network passes connections on to an address that may change, and can be cut or made silent in one direction.
type network struct {
	l      net.Listener
	mu     sync.Mutex
	target string
	rates  [3]int                     // bytes a second, by way; 0: all
	conns  map[net.Conn]*atomic.Int32 // what is swallowed: 1 to the tracker, 2 to the worker
	wg     sync.WaitGroup
}

func newNetwork(t testing.TB) *network {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{l: l, conns: map[net.Conn]*atomic.Int32{}}
	n.wg.Go(n.accept)
	t.Cleanup(func() {
		_ = l.Close()
		n.cut()
		n.wg.Wait()
	})
	return n
}

func (n *network) addr() string { return n.l.Addr().String() }

func (n *network) to(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.target = addr
}

func (n *network) accept() {
	for {
		in, err := n.l.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		out, err := net.Dial("tcp", n.target)
		if err != nil {
			n.mu.Unlock()
			_ = in.Close()
			continue
		}
		deaf := new(atomic.Int32)
		n.conns[in], n.conns[out] = deaf, deaf
		n.mu.Unlock()
		n.wg.Go(func() { n.pump(in, out, deaf, 1) })
		n.wg.Go(func() { n.pump(out, in, deaf, 2) })
	}
}

func (n *network) pump(from, to net.Conn, deaf *atomic.Int32, way int32) {
	buf := make([]byte, 64<<10)
	for {
		n.mu.Lock()
		rate := n.rates[way]
		n.mu.Unlock()
		if rate > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		k, err := from.Read(buf[:min(len(buf), max(1, cmp.Or(rate/100, len(buf))))])
		if k > 0 && deaf.Load() != way {
			if _, werr := to.Write(buf[:k]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = from.Close(), to.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, from)
	delete(n.conns, to)
}

// slow lets only so many bytes a second pass from here on.
func (n *network) slow(toTracker, toWorker int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rates = [3]int{1: toTracker, 2: toWorker}
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close()
	}
}

// silence swallows what comes one way on the connections that there are now.
func (n *network) silence(toTracker bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, deaf := range n.conns {
		if toTracker {
			deaf.Store(1)
		} else {
			deaf.Store(2)
		}
	}
}
