//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// gate lets bytes of one direction pass, or holds them. What is held is not lost: as on a network that heals, it arrives
// afterwards, and the end of a connection is held like everything else.
type gate struct {
	mu    sync.Mutex
	open  chan struct{} // closed while bytes may pass
	delay time.Duration
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		g.open = make(chan struct{})
	default:
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

func (g *gate) slow(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delay = d
}

// pass waits until bytes may pass; false: end has come first.
func (g *gate) pass(end <-chan struct{}) bool {
	for {
		g.mu.Lock()
		open, delay := g.open, g.delay
		g.mu.Unlock()
		if delay > 0 {
			select {
			case <-time.After(delay):
			case <-end:
				return false
			}
		}
		select {
		case <-open:
		case <-end:
			return false
		}
		g.mu.Lock()
		same := g.open == open
		g.mu.Unlock()
		if same {
			return true
		}
	}
}

// proxy passes connections on to a place that may change.
type proxy struct {
	l        net.Listener
	up, down *gate // towards the target, and back
	end      chan struct{}
	work     sync.WaitGroup

	mu      sync.Mutex
	target  string
	refuses bool
	conns   map[net.Conn]bool
}

func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{l: l, up: newGate(), down: newGate(), end: make(chan struct{}), target: target, conns: map[net.Conn]bool{}}
	p.work.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// lead has new connections go somewhere else; "": nowhere.
func (p *proxy) lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// cut ends all connections at once, without the words of an orderly end.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// refuse cuts connections and has new ones end as soon as they are there.
func (p *proxy) refuse(yes bool) {
	p.mu.Lock()
	p.refuses = yes
	p.mu.Unlock()
	if yes {
		p.cut()
	}
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // it has ended
	}
	_ = c.Close() // nobody reads or writes it any more
}

func (p *proxy) close() error {
	close(p.end)
	err := p.l.Close()
	p.cut()
	p.work.Wait()
	return err
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				time.Sleep(10 * time.Millisecond) // too many files, for example
				continue
			}
			return
		}
		p.work.Go(func() { p.serve(c) })
	}
}

// keep puts a connection on the books, unless it is to be none.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.end:
		reset(c)
		return false
	default:
	}
	if p.refuses {
		reset(c)
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close() // both ways have ended
}

func (p *proxy) serve(near net.Conn) {
	if !p.keep(near) {
		return
	}
	defer p.drop(near)
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	far, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		reset(near)
		return
	}
	if !p.keep(far) {
		return
	}
	defer p.drop(far)
	var both sync.WaitGroup
	both.Go(func() { p.pump(far, near, p.up) })
	both.Go(func() { p.pump(near, far, p.down) })
	both.Wait()
}

// pump passes one direction on until it ends, and then its end.
func (p *proxy) pump(to, from net.Conn, g *gate) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !g.pass(p.end) {
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				reset(from) // whoever sends is to learn it
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if t, ok := to.(*net.TCPConn); ok {
				_ = t.CloseWrite() // it has ended
			}
			return
		}
		if err != nil {
			reset(to)
			return
		}
	}
}
