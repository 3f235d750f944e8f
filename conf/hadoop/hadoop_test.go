package hadoop

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// site opens files of a map, as a folder "conf" would hold them.
func site(files map[string]string) opener {
	return func(name string) (io.ReadCloser, error) {
		text, ok := files[strings.TrimPrefix(filepath.ToSlash(name), "conf/")]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
}

func env(vars ...string) func(string) string {
	return func(name string) string {
		for i := 0; i+1 < len(vars); i += 2 {
			if vars[i] == name {
				return vars[i+1]
			}
		}
		return ""
	}
}

// doc is a configuration file of the given "name=value" lines; others are put in as they are.
func doc(lines ...string) string {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\"?>\n<configuration>\n")
	for _, l := range lines {
		if name, value, ok := strings.Cut(l, "="); ok && !strings.HasPrefix(l, "<") {
			fmt.Fprintf(&b, "<property><name>%s</name><value>%s</value></property>\n", name, value)
		} else {
			b.WriteString(l + "\n")
		}
	}
	b.WriteString("</configuration>\n")
	return b.String()
}

func mustLoad(t *testing.T, files map[string]string, vars ...string) *Config {
	t.Helper()
	c, err := load("conf", env(vars...), site(files))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const ha = `
<property><name>dfs.nameservices</name><value> lab, other ,single</value></property>
<property><name>dfs.ha.namenodes.lab</name><value>nn1, nn2</value></property>
<property><name>dfs.namenode.rpc-address.lab.nn1</name><value>one.lab:9000</value></property>
<property><name>dfs.namenode.rpc-address.lab.nn2</name><value>two.lab</value></property>
<property><name>dfs.namenode.http-address.lab.nn1</name><value>one.lab:9870</value></property>
<property><name>dfs.ha.namenodes.other</name><value>a,b,c</value></property>
<property><name>dfs.namenode.rpc-address.other.a</name><value>10.0.0.1:8020</value></property>
<property><name>dfs.namenode.rpc-address.other.b</name><value>10.0.0.2:8020</value></property>
<property><name>dfs.namenode.rpc-address.other.c</name><value>[fd00::3]:8020</value></property>
<property><name>dfs.namenode.rpc-address.single</name><value>solo:8020</value></property>`

func TestNameservices(t *testing.T) {
	c := mustLoad(t, map[string]string{"core-site.xml": doc("fs.defaultFS=hdfs://lab/user"), "hdfs-site.xml": doc(ha)})
	for authority, want := range map[string][]string{
		"lab":           {"one.lab:9000", "two.lab:8020"},
		"":              {"one.lab:9000", "two.lab:8020"},
		"other":         {"10.0.0.1:8020", "10.0.0.2:8020", "[fd00::3]:8020"},
		"single":        {"solo:8020"},
		"elsewhere":     {"elsewhere:8020"},
		"elsewhere:99":  {"elsewhere:99"},
		"[fd00::1]:900": {"[fd00::1]:900"},
	} {
		got, err := c.Cluster(authority)
		if err != nil || !reflect.DeepEqual(got.Addresses(), want) {
			t.Errorf("%q: got %v, %v; want %v", authority, got, err, want)
			continue
		}
		if guessed := authority == "elsewhere"; got.Guessed != guessed || !reflect.DeepEqual(got.Known, []string{"lab", "other", "single"}) {
			t.Errorf("%q: guessed %v, known %q", authority, got.Guessed, got.Known)
		}
	}
	if got, _ := c.Cluster("lab"); got.NameNodes[0].HTTP != "one.lab:9870" || got.NameNodes[1].ID != "nn2" || got.Name != "lab" {
		t.Errorf("got %+v", got)
	}
}

func TestSettings(t *testing.T) {
	c := mustLoad(t, map[string]string{
		"core-site.xml": doc("hadoop.security.authentication=Kerberos", "fs.permissions.umask-mode=u=rwx,g=rx,o="),
		"hdfs-site.xml": doc(ha, "dfs.replication=2", "dfs.block.size=128m", "dfs.namenode.kerberos.principal=nn/_HOST@EXAMPLE.COM",
			"dfs.client.use.datanode.hostname=true", "dfs.data.transfer.protection=authentication, privacy,integrity", "dfs.client.socket-timeout=30000",
			"dfs.replication.other=5", "dfs.encrypt.data.transfer= TRUE ")}, "HADOOP_USER_NAME", "ann")
	got, err := c.Cluster("lab")
	if err != nil {
		t.Fatal(err)
	}
	got.NameNodes, got.Known, got.Where = nil, nil, ""
	want := &Cluster{Name: "lab", User: "ann", Kerberos: true, Principal: "nn/_HOST@EXAMPLE.COM", UseDatanodeHostname: true, DataProtection: "privacy",
		EncryptData: true, Replication: 2, BlockSize: 128 << 20, Perm: 0o750, DataTimeout: 30 * time.Second}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got, err := c.Cluster("other"); err != nil || got.Replication != 5 {
		t.Errorf("of one nameservice: %+v, %v", got, err)
	}
}

func TestSubstitution(t *testing.T) {
	home, _ := os.UserHomeDir()
	c := mustLoad(t, map[string]string{"core-site.xml": doc("a=1", "b=${a}2", "c=${b}${b}", "which=b", "d=${${which}}", "e=${nothing}/${a}", "f=${env.SET}", "g=${env.UNSET:-x}${env.UNSET-y}${env.SET:-z}",
		"h=${user.name}:${user.home}", "i=$a{a}$", "loop=${loop}", "one=${two}", "two=${one}", "j=${env.UNSET}")}, "SET", "s", "HADOOP_USER_NAME", "ann")
	for name, want := range map[string]string{"a": "1", "b": "12", "c": "1212", "d": "12", "e": "${nothing}/1", "f": "s", "g": "xys", "h": "ann:" + home, "i": "$a{a}$", "j": "${env.UNSET}", "absent": ""} {
		if got, err := c.Get(name); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"loop", "one"} {
		var e *Error
		if got, err := c.Get(name); !errors.As(err, &e) || e.File != "conf/core-site.xml" || e.Line == 0 || e.Prop != name {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestOrderAndFinal(t *testing.T) {
	c := mustLoad(t, map[string]string{
		"core-site.xml": doc("a=core", "<property><name>b</name><value>core</value><final>true</final></property>", `<property name="c" value="attribute" final="true"/>`, "fs.default.name=hdfs://old"),
		"hdfs-site.xml": doc("a=hdfs", "b=hdfs", "c=hdfs", "<property><name>novalue</name></property>", "<other><x/></other>", "<configuration><property><name>nested</name><value>&lt;yes&gt;</value><description>x</description></property></configuration>"),
	})
	for name, want := range map[string]string{"a": "hdfs", "b": "core", "c": "attribute", "novalue": "", "nested": "<yes>", "fs.defaultFS": "hdfs://old"} {
		if got, err := c.Get(name); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestInclude(t *testing.T) {
	inc := func(href, inside string) string {
		return `<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="` + href + `">` + inside + `</xi:include>`
	}
	fallback := func(lines ...string) string {
		return "<xi:fallback>" + strings.Join(lines, "") + "</xi:fallback>"
	}
	property := "<property><name>fell</name><value>back</value></property>"
	c := mustLoad(t, map[string]string{
		"core-site.xml":   doc("a=first", inc("sub/more.xml", fallback(property)), "b=last", inc("missing.xml", fallback(property)), inc("gone.xml", fallback())),
		"sub/more.xml":    doc("a=included", "b=included", inc("deeper.xml", "")),
		"sub/deeper.xml":  doc("c=deep"),
		"/etc/common.xml": doc("d=absolute"),
		"hdfs-site.xml":   doc(inc("file:///etc/common.xml", "")),
	})
	for name, want := range map[string]string{"a": "included", "b": "last", "c": "deep", "fell": "back", "d": "absolute"} {
		if got, err := c.Get(name); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	if len(c.Files()) != 5 {
		t.Errorf("files %q", c.Files())
	}
}

// TestFaults: every complaint names file and line, and the cause.
func TestFaults(t *testing.T) {
	include := `<include href="core-site.xml"/>`
	for name, c := range map[string]struct {
		core, ask, want string
	}{
		"cut":                 {core: "<configuration>\n<property><name>a</name>", want: "conf/core-site.xml:2: "},
		"crossed":             {core: "<configuration>\n<property><name>a</value></property></configuration>", want: "conf/core-site.xml:2: "},
		"no configuration":    {core: "<html/>", want: "conf/core-site.xml:1: <html> stands where <configuration> should"},
		"empty":               {core: "", want: "conf/core-site.xml:1: there is no element <configuration>"},
		"two roots":           {core: doc() + doc(), want: "once"},
		"no name":             {core: doc("<property><value>x</value></property>"), want: "conf/core-site.xml:3: a <property> has no <name>"},
		"entity":              {core: `<!DOCTYPE c [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + "\n" + doc("x=&b;"), want: "conf/core-site.xml:4: invalid character entity &b;"},
		"includes itself":     {core: doc(include), want: "conf/core-site.xml:3: files include each other more than 8 deep"},
		"includes nothing":    {core: doc("<include/>"), want: "conf/core-site.xml:3: an include has no href"},
		"includes the web":    {core: doc(`<include href="http://host/a.xml"/>`), want: "only files of this machine"},
		"included is missing": {core: doc(`<include href="b.xml"/>`), want: "conf/core-site.xml:3: the included file conf/b.xml is not there"},
		"wide":                {core: doc(strings.Repeat(`<include href="b.xml"><fallback/></include>`, 70)), want: "more than 64 files"},
		"huge file":           {core: doc("<!--" + strings.Repeat("x", maxFile) + "-->"), want: "more than 4194304 bytes"},
		"huge value":          {core: doc("a=" + strings.Repeat("x", maxValue+1)), want: "more than 65536 bytes"},
		"deep elements":       {core: strings.Repeat("<configuration>", 50), want: "nested too deeply"},
		"many laughs":         {core: doc("a="+strings.Repeat("x", 60000), "b=${a}${a}", "fs.defaultFS=${b}"), want: "fs.defaultFS: the value has more than 65536 bytes"},
		"not hdfs":            {core: doc("fs.defaultFS=s3a://bucket"), want: `conf/core-site.xml:3: fs.defaultFS: "s3a://bucket" is no hdfs URI`},
		"no default":          {core: doc(), want: "fs.defaultFS is not set; read from conf/core-site.xml"},
		"no address":          {core: doc("dfs.nameservices=lab"), ask: "lab", want: "conf/core-site.xml:3: dfs.nameservices: neither dfs.ha.namenodes.lab nor dfs.namenode.rpc-address.lab is set"},
		"half an address":     {core: doc("dfs.nameservices=lab", "dfs.ha.namenodes.lab=nn1"), ask: "lab", want: "conf/core-site.xml:4: dfs.ha.namenodes.lab: it names nn1, and dfs.namenode.rpc-address.lab.nn1 is not set"},
		"no port":             {core: doc("dfs.nameservices=lab", "dfs.namenode.rpc-address.lab=host:http"), ask: "lab", want: `conf/core-site.xml:4: dfs.namenode.rpc-address.lab: "host:http" is no HOST:PORT`},
		"no host":             {core: doc(), ask: ":8020", want: `":8020" is no HOST:PORT`},
		"user in the URI":     {core: doc(), ask: "ann@host", want: `"ann@host" names no cluster`},
		"size":                {core: doc("dfs.blocksize=128x"), ask: "host", want: `dfs.blocksize: "128x" is no size`},
		"replication":         {core: doc("dfs.replication=0"), ask: "host", want: "dfs.replication"},
		"umask":               {core: doc("fs.permissions.umask-mode=u=rwx,g"), ask: "host", want: "is no umask"},
		"protection":          {core: doc("dfs.data.transfer.protection=secret"), ask: "host", want: "is none of authentication, integrity, privacy"},
		"charset":             {core: `<?xml version="1.0" encoding="utf-16"?>` + "\n" + `<configuration/>`, want: "cannot be read: write it in UTF-8"},
	} {
		conf, err := load("conf", env(), site(map[string]string{"core-site.xml": c.core}))
		if err == nil {
			_, err = conf.Cluster(c.ask)
		}
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || e.ErrorID() != "E-HDFS-CONFIG" || e.Hint() == "" {
			t.Errorf("%s: got %v; want %q", name, err, c.want)
		}
	}
}

func TestLoadByEnvironment(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, "etc", "hadoop")
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.WriteFile(filepath.Join(dir, "core-site.xml"), []byte(doc("fs.defaultFS=hdfs://caf\xe9:1")), 0o666)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(env("HADOOP_HOME", home)); err == nil || !strings.Contains(err.Error(), "core-site.xml:3: invalid UTF-8") {
		t.Errorf("bytes that are no UTF-8: %v", err)
	}
	latin := `<?xml version="1.0" encoding="ISO-8859-1"?>` + strings.TrimPrefix(doc("fs.defaultFS=hdfs://caf\xe9:1"), `<?xml version="1.0"?>`)
	if err := os.WriteFile(filepath.Join(dir, "core-site.xml"), []byte(latin), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, e := range []func(string) string{env("HADOOP_HOME", home), env("HADOOP_HOME", "x", "HADOOP_CONF_DIR", dir)} {
		c, err := Load(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Cluster(""); err != nil || got.Addresses()[0] != "café:1" {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if c, err := Load(env()); err != nil || len(c.Files()) > 0 {
		t.Errorf("without an environment: %+v, %v", c, err)
	} else if _, err := c.Cluster(""); err == nil || !strings.Contains(err.Error(), "HADOOP_CONF_DIR") {
		t.Errorf("without files: %v", err)
	}
	for _, name := range []string{filepath.Join(dir, "absent"), filepath.Join(dir, "core-site.xml")} {
		var e *Error
		if _, err := Load(env("HADOOP_CONF_DIR", name)); !errors.As(err, &e) || e.File != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzLoad: whatever files hold, reading them ends, within bounds, and complaints name a file.
func FuzzLoad(f *testing.F) {
	f.Add(doc("fs.defaultFS=hdfs://lab/", ha), doc("a=${b}"), "lab")
	f.Add(doc(`<include href="b.xml"><fallback><property><name>c</name><value>${env.X:-y}</value></property></fallback></include>`), doc("b=${b}", "dfs.blocksize=128m", "fs.permissions.umask-mode=u=rwx,g=,o="), "")
	f.Add(`<!DOCTYPE c [<!ENTITY a "aaaa">]><configuration><property name="a" value="&a;"/></configuration>`, "", "host:1")
	f.Add(doc("dfs.nameservices=a", "dfs.ha.namenodes.a=b", "dfs.namenode.rpc-address.a.b=${x}${x}", "x=1:1"), doc(`<include href="core-site.xml"/>`), "a")
	f.Fuzz(func(t *testing.T, core, other, authority string) {
		c, err := load("conf", env("X", "1"), site(map[string]string{"core-site.xml": core, "b.xml": other, "hdfs-site.xml": other}))
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.File == "" || e.Hint() == "" {
				t.Fatalf("a complaint without a file: %v", err)
			}
			return
		}
		for name := range c.props {
			if v, err := c.Get(name); len(v) > maxValue || err != nil && !errors.As(err, &e) {
				t.Fatalf("%q: %d bytes, %v", name, len(v), err)
			}
		}
		got, err := c.Cluster(authority)
		if err != nil {
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			return
		}
		if n := len(got.NameNodes); n < 1 || n > maxNameNodes || got.BlockSize < 0 || got.Perm > 0o777 {
			t.Fatalf("%+v", got)
		}
	})
}
