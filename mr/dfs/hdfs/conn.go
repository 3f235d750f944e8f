package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// conn is a connection whose every read and write has a deadline of its own. The client library knows none for the
// NameNode, and for DataNodes an absolute one, under which it cannot turn to the next DataNode.
//
// A failed read closes it. The library would go on after one and take the late reply to one call for that to the next.
type conn struct {
	net.Conn
	server string // "NameNode" or "DataNode"
	wait   time.Duration
	first  atomic.Pointer[connError] // what it was closed for
}

// connError is a failure between us and a server.
type connError struct {
	server, addr string
	err          error
}

func (e *connError) Error() string { return fmt.Sprintf("%s %s: %v", e.server, e.addr, e.err) }
func (e *connError) Unwrap() error { return e.err }

const (
	nameServer = "NameNode"
	dataServer = "DataNode"
)

// dialer returns a function that connects to servers of a sort; failed is told of every failure, because the library
// keeps but the text of those.
func dialer(server string, wait time.Duration, failed func(addr string, err error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: wait, KeepAlive: 30 * time.Second}).DialContext(ctx, network, addr)
		failed(addr, err)
		if err != nil {
			return nil, &connError{server, addr, err}
		}
		return &conn{Conn: c, server: server, wait: wait}, nil
	}
}

func (c *conn) fail(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the library takes io.EOF for the end of a block
	}
	c.first.CompareAndSwap(nil, &connError{c.server, c.RemoteAddr().String(), err})
	return c.first.Load()
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(c.wait)); err != nil {
		return 0, c.fail(err)
	}
	n, err := c.Conn.Read(b)
	if err != nil {
		_ = c.Conn.Close() // the read's error says more
	}
	return n, c.fail(err)
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.wait)); err != nil {
		return 0, c.fail(err)
	}
	n, err := c.Conn.Write(b)
	return n, c.fail(err)
}

// SetDeadline does nothing: deadlines are set here.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing, as SetDeadline.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing, as SetDeadline.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
