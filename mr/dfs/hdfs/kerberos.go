package hdfs

import (
	"errors"
	"fmt"
	"strings"

	krb "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Kerberos is an identity: a keytab, with which tickets are fetched and renewed by ourselves, or a cache of tickets,
// which somebody else (kinit, a cron job) keeps fresh and which is read again for every new connection.
type Kerberos struct {
	Config    string // krb5.conf
	Keytab    string // file; "": the cache is used
	Cache     string // file of tickets
	Principal string // "" : the first one of the keytab; of a cache, its own
	Service   string // of the NameNodes, dfs.namenode.kerberos.principal; _HOST stands for each one's name
}

// service is what the library wants: without the realm.
func (k *Kerberos) service() string {
	s, _, _ := strings.Cut(k.Service, "@")
	return s
}

// source says where the identity comes from.
func (k *Kerberos) source() string {
	if k.Keytab != "" {
		return "the keytab " + k.Keytab
	}
	return "the ticket cache " + k.Cache
}

// login returns a client with a ticket.
func (p *pool) login() (*krb.Client, error) {
	k := p.opt.Kerberos
	fail := func(err error, fix string) (*krb.Client, error) {
		return nil, &errs.Error{Op: "log in", Kind: errs.Unauthorized, ID: "E-HDFS-KERBEROS", Err: fmt.Errorf("%s: %w", k.source(), err), Fix: fix}
	}
	if k.Service == "" {
		return fail(errors.New("the name of the NameNode's principal is not known"), "set dfs.namenode.kerberos.principal in hdfs-site.xml")
	}
	p.mu.Lock()
	have := p.krb
	p.mu.Unlock()
	if have != nil && k.Keytab != "" {
		return have, nil // it renews its ticket
	}
	conf, err := config.Load(k.Config)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", k.Config, err), "set KRB5_CONFIG to the file krb5.conf of your site")
	}
	if k.Keytab == "" {
		cache, err := credentials.LoadCCache(k.Cache)
		if err != nil {
			return fail(err, "fetch a ticket with kinit; the cache must be a file (KRB5CCNAME=FILE:PATH)")
		}
		c, err := krb.NewFromCCache(cache, conf, krb.DisablePAFXFAST(true))
		if err != nil {
			return fail(err, "fetch a ticket with kinit")
		}
		return c, nil
	}
	kt, err := keytab.Load(k.Keytab)
	if err != nil {
		return fail(err, "check the keytab's name and permissions")
	}
	name, realm, err := principal(k.Principal, kt, conf.LibDefaults.DefaultRealm)
	if err != nil {
		return fail(err, "name the principal")
	}
	c := krb.NewWithKeytab(name, realm, kt, conf, krb.DisablePAFXFAST(true))
	if err := c.Login(); err != nil {
		return fail(err, "try the same with kinit -kt "+k.Keytab+" "+name+"@"+realm)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.krb != nil || p.closed { // another one was quicker
		if p.krb == nil {
			p.krb = c
		} else {
			c.Destroy()
		}
		return p.krb, nil
	}
	p.krb = c
	return c, nil
}

// principal is the name to log in as.
func principal(want string, kt *keytab.Keytab, realm string) (name, inRealm string, err error) {
	if want != "" {
		name, inRealm, _ = strings.Cut(want, "@")
		if inRealm == "" {
			inRealm = realm
		}
		return name, inRealm, nil
	}
	for _, e := range kt.Entries {
		return strings.Join(e.Principal.Components, "/"), e.Principal.Realm, nil
	}
	return "", "", errors.New("the keytab is empty")
}
