// Package hadoop reads Hadoop's own configuration files, core-site.xml and hdfs-site.xml, and says which NameNodes an
// hdfs URI means and how they want to be spoken to.
//
// Invariant: it means what Hadoop's own clients mean by the same files (order, final, ${} of properties, environment and
// user, XInclude with fallbacks, nameservices with several NameNodes, old names of properties), but for one thing: it
// reads no defaults, because the few that matter are in the code. Whatever the files hold, it ends: their size, number,
// depth and what ${} makes of a value are bounded, and entities of a document type are never expanded. Every complaint
// names file and line.
//
// The program maps what it yields onto the options of a store. It opens no connection and resolves no name.
package hadoop

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// Bounds. Hadoop's own files with all defaults have some 200 KB and 2,000 properties.
const (
	maxFile       = 4 << 20
	maxFiles      = 64
	maxDepth      = 8 // of includes
	maxProperties = 50_000
	maxValue      = 64 << 10
	maxRounds     = 20 // of substitution, as Hadoop
)

// Error is a fault of a configuration file, or of what is asked of it.
type Error struct {
	File string // "" : of no file
	Line int
	Prop string // property concerned
	Err  error
	Fix  string
}

func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.File != "" && e.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	case e.File != "":
		b.WriteString(e.File + ": ")
	}
	if e.Prop != "" {
		b.WriteString(e.Prop + ": ")
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorID is stable.
func (e *Error) ErrorID() string { return "E-HDFS-CONFIG" }

// Hint says what to do next.
func (e *Error) Hint() string {
	if e.Fix != "" {
		return e.Fix
	}
	return "correct the file, or set HADOOP_CONF_DIR to the folder of your cluster's configuration"
}

// property is a value and where it stands.
type property struct {
	value string
	file  string
	line  int
	final bool
}

// Config is the settings of a Hadoop client.
type Config struct {
	props map[string]property
	files []string // that were read
	env   func(string) string
}

// Files are the names of the files that were read.
func (c *Config) Files() []string { return c.files }

// where says which files were read, for messages.
func (c *Config) where() string {
	if len(c.files) == 0 {
		return "no configuration of Hadoop was found: neither HADOOP_CONF_DIR nor HADOOP_HOME is set"
	}
	return "read from " + strings.Join(c.files, ", ")
}

// siteFiles are read in this order; later ones win.
var siteFiles = []string{"core-site.xml", "hdfs-site.xml"}

// Load reads the files of the folder that the environment names: HADOOP_CONF_DIR, or etc/hadoop in HADOOP_HOME. Where
// neither is set there are no settings, which is no error.
func Load(getenv func(string) string) (*Config, error) {
	dir, name := getenv("HADOOP_CONF_DIR"), "HADOOP_CONF_DIR"
	if dir == "" {
		home := getenv("HADOOP_HOME")
		if home == "" {
			return &Config{props: map[string]property{}, env: getenv}, nil
		}
		dir, name = filepath.Join(home, "etc", "hadoop"), "HADOOP_HOME"
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if err == nil {
			err = errors.New("is no folder")
		}
		return nil, &Error{File: dir, Err: err, Fix: "correct " + name + ", or unset it"}
	}
	return load(dir, getenv, openFile)
}

// openFile opens a regular file: a pipe would hang us.
func openFile(name string) (io.ReadCloser, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is no file")
	}
	return os.Open(name)
}

type opener func(name string) (io.ReadCloser, error)

func load(dir string, getenv func(string) string, open opener) (*Config, error) {
	c := &Config{props: map[string]property{}, env: getenv}
	r := &reader{config: c, open: open}
	for _, name := range siteFiles {
		err := r.file(filepath.Join(dir, name), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return c, nil
}

// oldNames are names of before Hadoop 2 that files still use.
var oldNames = map[string]string{
	"fs.default.name":             "fs.defaultFS",
	"dfs.federation.nameservices": "dfs.nameservices",
	"dfs.block.size":              "dfs.blocksize",
	"dfs.umaskmode":               "fs.permissions.umask-mode",
	"dfs.umask":                   "fs.permissions.umask-mode",
}

// set notes a property; one that an earlier file has declared final stays.
func (c *Config) set(name string, p property) {
	if now, old := oldNames[name]; old {
		name = now
	}
	if c.props[name].final {
		return
	}
	c.props[name] = p
}

// Get is a property's value, trimmed, with ${} replaced; "" if it is not set.
func (c *Config) Get(name string) (string, error) {
	p, ok := c.props[name]
	if !ok {
		return "", nil
	}
	v, err := c.expand(p.value)
	if err != nil {
		return "", &Error{File: p.file, Line: p.line, Prop: name, Err: err}
	}
	return strings.TrimSpace(v), nil
}

// expand replaces ${} from the inside out, in as many rounds as Hadoop takes. What has no value stays as it is.
func (c *Config) expand(v string) (string, error) {
	from := 0
	for range maxRounds {
		start, end := variable(v, from)
		if start < 0 {
			return v, nil
		}
		with, ok := c.lookup(v[start+2 : end])
		if !ok {
			from = end + 1 // stays
			continue
		}
		if len(v)-(end+1-start)+len(with) > maxValue {
			return "", fmt.Errorf("the value has more than %d bytes when ${} is replaced", maxValue)
		}
		v = v[:start] + with + v[end+1:]
		from = 0
	}
	if start, _ := variable(v, from); start < 0 {
		return v, nil
	}
	return "", fmt.Errorf("${} is not done after %d replacements: does a property name itself?", maxRounds)
}

// variable finds the first innermost ${NAME}: from '$' to '}'.
func variable(v string, from int) (start, end int) {
	start = -1
	for i := from; i < len(v); i++ {
		switch {
		case v[i] == '$' && i+1 < len(v) && v[i+1] == '{':
			start = i
		case v[i] == '}' && start >= 0:
			if i > start+2 {
				return start, i
			}
			start = -1
		case v[i] == ' ' || v[i] == '\t' || v[i] == '\n' || v[i] == '\r' || v[i] == '$':
			start = -1
		}
	}
	return -1, -1
}

// lookup is the value of a name in ${}.
func (c *Config) lookup(name string) (string, bool) {
	if env, ok := strings.CutPrefix(name, "env."); ok {
		// ${env.X-default}: when X is not set; ${env.X:-default}: also when it is empty.
		if at := strings.IndexAny(env, ":-"); at > 0 {
			if v := c.env(env[:at]); v != "" {
				return v, true
			}
			return strings.TrimPrefix(strings.TrimPrefix(env[at:], ":"), "-"), true
		}
		v := c.env(env)
		return v, v != ""
	}
	switch name {
	case "user.name":
		return c.userName(), true
	case "user.home":
		if h, err := os.UserHomeDir(); err == nil {
			return h, true
		}
	case "java.io.tmpdir":
		return os.TempDir(), true
	}
	p, ok := c.props[name]
	return strings.TrimSpace(p.value), ok
}

// userName is who runs this program, to Hadoop.
func (c *Config) userName() string {
	if u := c.env("HADOOP_USER_NAME"); u != "" {
		return u
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username[strings.LastIndexByte(u.Username, '\\')+1:] // without Windows' domain
	}
	return c.env("USER")
}

// Under are the properties whose names begin with prefix, by their full names.
func (c *Config) Under(prefix string) (map[string]string, error) {
	out := map[string]string{}
	for name := range c.props {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		v, err := c.Get(name)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}
