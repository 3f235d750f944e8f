package hdfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	krb "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// ticketCache logs in as kinit does and writes a cache of MIT's format, version 4.
func ticketCache(t *testing.T, c *cluster, name string) string {
	t.Helper()
	conf, err := config.Load(c.env["KRB5_CONFIG"])
	if err != nil {
		t.Fatal(err)
	}
	kt, err := keytab.Load(c.env["KEYTAB"])
	if err != nil {
		t.Fatal(err)
	}
	cl := krb.NewWithKeytab(name, c.env["REALM"], kt, conf, krb.DisablePAFXFAST(true))
	defer cl.Destroy()
	req, err := messages.NewASReqForTGT(c.env["REALM"], conf, cl.Credentials.CName())
	if err != nil {
		t.Fatal(err)
	}
	rep, err := cl.ASExchange(c.env["REALM"], req, 0)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := rep.Ticket.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&b, binary.BigEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	data := func(d []byte) { put(uint32(len(d))); b.Write(d) }
	principal := func(p types.PrincipalName, realm string) {
		put(uint32(p.NameType))
		put(uint32(len(p.NameString)))
		data([]byte(realm))
		for _, s := range p.NameString {
			data([]byte(s))
		}
	}
	put(uint16(0x0504))
	put(uint16(0)) // no header
	principal(rep.CName, rep.CRealm)
	principal(rep.CName, rep.CRealm)
	principal(rep.Ticket.SName, rep.Ticket.Realm)
	part := rep.DecryptedEncPart
	put(uint16(part.Key.KeyType))
	data(part.Key.KeyValue)
	for _, at := range []time.Time{part.AuthTime, part.StartTime, part.EndTime, part.RenewTill} {
		put(uint32(max(at.Unix(), 0)))
	}
	put(uint8(0))
	b.Write(part.Flags.Bytes)
	put(uint32(0)) // addresses
	put(uint32(0)) // authorization data
	data(ticket)
	data(nil)
	file := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestKerberos: a cluster with Kerberos, where calls and data are encrypted, by keytab and by ticket cache.
func TestKerberos(t *testing.T) {
	if os.Getenv(longVar) == "" {
		t.Skipf("set %s=1 for tests that take minutes", longVar)
	}
	c := start(t, "start-kerberos")
	options := func(k Kerberos) Options {
		o := c.options()
		o.DataProtection, o.EncryptData = "privacy", true
		k.Config, k.Service = c.env["KRB5_CONFIG"], "hdfs/_HOST@"+c.env["REALM"]
		o.Kerberos = &k
		return o
	}
	admin := options(Kerberos{Keytab: c.env["KEYTAB"], Principal: "hdfs/127.0.0.1"})
	root := c.client(t, admin)
	if err := root.pool.do(t.Context(), time.Minute, func(s *session) error {
		if err := s.mkdirs(root.root, 0o777); err != nil {
			return err
		}
		_, err := s.call("setPermission", args{"src": root.root, "permission": args{"perm": uint32(0o777)}})
		return err
	}); err != nil {
		t.Fatalf("%v", root.wrap("mkdir", "", err))
	}
	data := pattern(5 << 20)
	for name, k := range map[string]Kerberos{
		"keytab": {Keytab: c.env["KEYTAB"], Principal: "vista@" + c.env["REALM"]},
		"cache":  {Cache: ticketCache(t, c, "vista")},
	} {
		f, err := New(options(k), root.root)
		if err != nil {
			t.Fatal(err)
		}
		p := dfs.Path(name + "/file")
		if err := dfs.WriteFile(t.Context(), f, p, data); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantFile(t, f, p, data)
		if err := f.Claim(t.Context(), p); !errs.Is(err, errs.Exist) {
			t.Errorf("%s: claim: %v", name, err)
		}
		st, err := f.stat(t.Context(), f.abs(p))
		if err != nil || st.GetOwner() != "vista" {
			t.Errorf("%s: the file belongs to %q, %v", name, st.GetOwner(), err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Run("races", func(t *testing.T) { // the library's unlocked fields
		f, err := New(options(Kerberos{Keytab: c.env["KEYTAB"], Principal: "vista"}), root.root)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		done := make(chan error)
		const n = 8
		for i := range n {
			go func() { done <- dfs.WriteFile(t.Context(), f, dfs.Path("r").Join(string(rune('a'+i))), data[:200_000]) }()
		}
		for range n {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	// What goes wrong says what to do.
	for name, k := range map[string]Kerberos{
		"no keytab":    {Keytab: "absent"},
		"no cache":     {Cache: "absent"},
		"unknown name": {Keytab: c.env["KEYTAB"], Principal: "nobody"},
	} {
		o := options(k)
		o.Contact = time.Second
		f, err := New(o, root.root)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Stat(t.Context(), "x")
		var named interface {
			ErrorID() string
			Hint() string
		}
		if !errs.Is(err, errs.Unauthorized) || !asError(err, &named) || named.ErrorID() != "E-HDFS-KERBEROS" || named.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		_ = f.Close() // nothing was opened
	}
	o := options(Kerberos{})
	o.Kerberos, o.Contact, o.User = nil, time.Second, "vista"
	f, err := New(o, root.root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var named *errs.Error
	if _, err := f.Stat(t.Context(), "x"); !errors.As(err, &named) || !strings.Contains(named.Hint(), "Kerberos") {
		t.Errorf("without Kerberos: %v (kind %v)", err, errs.KindOf(err))
	}
	o.DataProtection = "integrity"
	if _, err := New(o, "/"); !errs.Is(err, errs.Invalid) {
		t.Errorf("integrity: %v", err)
	}
}
