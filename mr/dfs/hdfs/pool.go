package hdfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	hadoop "github.com/colinmarc/hdfs/v2"
	"github.com/colinmarc/hdfs/v2/hadoopconf"
	krb "github.com/jcmturner/gokrb5/v8/client"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// session is a client of the library: a connection to the active NameNode, and the name under which it holds leases.
type session struct {
	c        *hadoop.Client
	exec     executor
	defaults hadoop.ServerDefaults
	born     time.Time

	// Guarded by the pool's mutex.
	users   int  // calls under way, open readers and writers
	retired bool // closed when its last user has gone
}

// layout is how new files are stored.
func (s *session) layout(o Options) (replication int, block int64) {
	replication, block = o.Replication, o.BlockSize
	if replication <= 0 {
		replication = s.defaults.Replication
	}
	if block <= 0 {
		block = s.defaults.BlockSize
	}
	return replication, block
}

// pool keeps sessions. One that has met a broken connection is retired at once: the library bars a NameNode for five
// seconds after a failure, and a new client does not.
type pool struct {
	opt  Options
	base hadoop.ClientOptions

	mu       sync.Mutex
	sessions []*session
	dialing  int
	free     *sync.Cond // a session has become free, or a dial has ended
	answered bool       // the cluster has answered once
	gaveUp   bool       // it has not, and a call has waited long enough for all
	closed   bool
	closing  sync.WaitGroup
	krb      *krb.Client

	dialMu sync.Mutex
	dials  map[string]error // the last result for each address
}

// secureAge bounds the life of a session with tokens and keys that expire on the server, after ten hours by default.
const secureAge = time.Hour

func newPool(o Options) (*pool, error) {
	if len(o.Addresses) == 0 {
		return nil, errs.E("open", errs.Invalid, "hdfs://"+o.Name, errors.New("no address of a NameNode"))
	}
	if o.DataProtection == "integrity" {
		return nil, &errs.Error{Op: "open", Kind: errs.Invalid, ID: "E-HDFS-CONFIG", Path: "hdfs://" + o.Name, Fix: needAES,
			Err: errors.New("dfs.data.transfer.protection is integrity, under which the HDFS client library reads wrongly")}
	}
	p := &pool{opt: o, dials: map[string]error{}}
	p.free = sync.NewCond(&p.mu)
	// The library's own reader of settings is the only way to one of them: DataNodes on ports below 1024 need no
	// authentication.
	settings := hadoopconf.HadoopConf{"dfs.data.transfer.protection": o.DataProtection, "dfs.encrypt.data.transfer": fmt.Sprint(o.EncryptData)}
	p.base = hadoop.ClientOptionsFromConf(settings)
	p.base.Addresses, p.base.User, p.base.UseDatanodeHostname = o.Addresses, o.User, o.UseDatanodeHostname
	p.base.NamenodeDialFunc = dialer(nameServer, o.Timeout, p.dialed)
	p.base.DatanodeDialFunc = dialer(dataServer, o.DataTimeout, func(string, error) {})
	if o.Kerberos != nil {
		p.base.KerberosServicePrincipleName = o.Kerberos.service()
	}
	return p, nil
}

func (p *pool) dialed(addr string, err error) {
	p.dialMu.Lock()
	defer p.dialMu.Unlock()
	p.dials[addr] = err
}

// nowhere is the error when none of the NameNodes' names exists, else nil.
func (p *pool) nowhere() error {
	p.dialMu.Lock()
	defer p.dialMu.Unlock()
	var err error
	for _, a := range p.opt.Addresses {
		var dns *net.DNSError
		if err = p.dials[a]; !errors.As(err, &dns) || !dns.IsNotFound {
			return nil
		}
	}
	return err
}

// dial makes a session: the NameNode has answered it once.
func (p *pool) dial() (*session, error) {
	o := p.base
	if p.opt.Kerberos != nil {
		c, err := p.login()
		if err != nil {
			return nil, err
		}
		o.KerberosClient = c
	}
	c, err := hadoop.NewClient(o)
	if err != nil {
		if gone := p.nowhere(); gone != nil {
			return nil, &errs.Error{Op: "connect", Kind: errs.Invalid, ID: "E-HDFS-CONFIG", Err: gone, Fix: cmp.Or(p.opt.Unknown, "check the name in the URI and in hdfs-site.xml")}
		}
		return nil, err
	}
	s := &session{c: c, born: time.Now()}
	s.exec, err = executorOf(c)
	if err == nil {
		// Also because the library would fetch them later, from any reader and writer without a lock.
		s.defaults, err = c.ServerDefaults()
	}
	if err == nil && (p.base.DataTransferProtection != "" || s.defaults.EncryptDataTransfer) {
		err = s.prime()
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// take returns the session that does least, or a new one.
func (p *pool) take(ctx context.Context) (*session, error) {
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, errs.E("connect", errs.Internal, "", errors.New("the file system is closed"))
		}
		var best *session
		for _, s := range p.sessions {
			if best == nil || s.users < best.users {
				best = s
			}
		}
		if best != nil && p.opt.Kerberos != nil && time.Since(best.born) > secureAge {
			p.retire(best)
			continue
		}
		switch {
		case best != nil && (best.users == 0 || len(p.sessions)+p.dialing >= p.opt.Clients):
			best.users++
			p.mu.Unlock()
			return best, nil
		case p.dialing > 0 && len(p.sessions)+p.dialing >= p.opt.Clients:
			p.free.Wait() // a dial has an end
			continue
		}
		p.dialing++
		p.mu.Unlock()
		s, err := p.dial()
		p.mu.Lock()
		p.dialing--
		p.free.Broadcast()
		if err != nil {
			p.mu.Unlock()
			return nil, err
		}
		s.users++
		p.answered = true
		p.sessions = append(p.sessions, s)
		p.mu.Unlock()
		return s, nil
	}
}

// hold adds a user, who gives it back as the first one does.
func (p *pool) hold(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users++
}

// give returns a session; err is what its use has ended with.
func (p *pool) give(s *session, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users--
	if broken(err) {
		p.retire(s)
	}
	p.end(s)
}

// retire takes a session out of use.
func (p *pool) retire(s *session) {
	for i, have := range p.sessions {
		if have == s {
			p.sessions = append(p.sessions[:i], p.sessions[i+1:]...)
		}
	}
	s.retired = true
	p.end(s)
}

// end closes a session that is out of use. Closing waits for calls of the library's own, so it is not done here.
func (p *pool) end(s *session) {
	if !s.retired || s.users > 0 || s.c == nil {
		return
	}
	c := s.c
	s.c = nil
	p.closing.Go(func() { _ = c.Close() }) // nothing is lost with it
}

func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	for len(p.sessions) > 0 {
		p.retire(p.sessions[0])
	}
	kerberos := p.krb
	p.krb = nil
	p.mu.Unlock()
	p.closing.Wait()
	if kerberos != nil {
		kerberos.Destroy()
	}
	return nil
}

// patience is how long calls are made again: less before the cluster has answered at all, because then it is the
// address that is wrong.
func (p *pool) patience(want time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.answered:
		return want
	case p.gaveUp:
		return 0
	}
	return min(want, p.opt.Contact)
}

// do makes a call, again and again while the NameNode is away. What fails for another reason is returned at once.
// The call must bear being made twice.
func (p *pool) do(ctx context.Context, patience time.Duration, call func(s *session) error) error {
	begin := time.Now()
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s, err := p.take(ctx)
		if err == nil {
			err = call(s)
			p.give(s, err)
		}
		if err == nil || !away(err) {
			return err
		}
		pause := backoff(try, 50*time.Millisecond, 2*time.Second)
		if time.Since(begin)+pause > p.patience(patience) {
			p.mu.Lock()
			p.gaveUp = true
			p.mu.Unlock()
			return err
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// backoff doubles from try to try, and differs between those who wait for the same.
func backoff(try int, first, most time.Duration) time.Duration {
	d := min(first<<min(try, 16), most)
	return d/2 + rand.N(d/2+1)
}

// sleep tells whether ctx has let it sleep.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// outOfStep is the library's error when a reply is not that to its call.
const outOfStep = "unexpected sequence number"

// noNamenodes begins the library's error when it has no connection; the cause is only in the text.
const noNamenodes = "no available namenodes"

// broken tells whether an error says that a session's connection to the NameNode is of no use.
func broken(err error) bool {
	if err == nil {
		return false
	}
	var ce *connError
	if errors.As(err, &ce) {
		return ce.server == nameServer
	}
	text := err.Error()
	return strings.Contains(text, noNamenodes) || strings.Contains(text, outOfStep) || strings.Contains(text, "use of closed network connection")
}

// away tells whether an error says that no NameNode was there to do what was asked, so that another try may help.
func away(err error) bool {
	if exception(err) == "" {
		return broken(err)
	}
	return kindOf(err) == errs.Unreachable
}
