package hadoop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// NameNode is one of a cluster's.
type NameNode struct {
	ID   string // in its nameservice; "" if it is the only one
	RPC  string // HOST:PORT
	HTTP string // HOST:PORT, "" if the files do not say
}

// Cluster is what an hdfs URI means.
type Cluster struct {
	Name      string // of the nameservice, or HOST:PORT
	NameNodes []NameNode
	// Guessed: the name is no nameservice of the files, and was taken for that of a machine with the default port.
	Guessed bool
	Known   []string // nameservices of the files
	Where   string   // which files were read, for messages

	User                string
	Kerberos            bool
	Principal           string // of the NameNodes, in which _HOST stands for each one's name
	UseDatanodeHostname bool
	DataProtection      string // the highest of dfs.data.transfer.protection
	EncryptData         bool
	Replication         int           // 0: the cluster's
	BlockSize           int64         // 0: the cluster's
	Perm                os.FileMode   // of new folders
	DataTimeout         time.Duration // 0: not set
}

// Addresses are the NameNodes' for calls.
func (c *Cluster) Addresses() []string {
	var out []string
	for _, n := range c.NameNodes {
		out = append(out, n.RPC)
	}
	return out
}

const defaultPort = "8020"

// Cluster finds what the host part of an hdfs URI means; "": the default file system.
func (c *Config) Cluster(authority string) (*Cluster, error) {
	if authority == "" {
		var err error
		if authority, err = c.defaultAuthority(); err != nil {
			return nil, err
		}
	}
	if strings.ContainsAny(authority, "@/?#%\\ ") {
		return nil, &Error{Err: fmt.Errorf("%q names no cluster", authority), Fix: "write hdfs://NAMESERVICE/PATH or hdfs://HOST:PORT/PATH"}
	}
	known, err := c.list("dfs.nameservices")
	if err != nil {
		return nil, err
	}
	out := &Cluster{Name: authority, Known: known, Where: c.where(), User: c.userName(), Perm: 0o755}
	switch {
	case slices.Contains(known, authority):
		out.NameNodes, err = c.nameservice(authority)
	case strings.Contains(authority, ":"):
		var rpc string
		if rpc, err = address(authority, ""); err != nil {
			err = &Error{Err: err, Fix: "write hdfs://NAMESERVICE/PATH or hdfs://HOST:PORT/PATH"}
		}
		out.NameNodes = []NameNode{{RPC: rpc}}
	default:
		out.Guessed = true
		out.NameNodes = []NameNode{{RPC: net.JoinHostPort(authority, defaultPort)}}
		out.Name = out.NameNodes[0].RPC
	}
	if err != nil {
		return nil, err
	}
	return out, c.settings(out, authority)
}

// defaultAuthority is the cluster of fs.defaultFS.
func (c *Config) defaultAuthority() (string, error) {
	v, err := c.Get("fs.defaultFS")
	if err != nil {
		return "", err
	}
	if v == "" {
		return "", &Error{Err: errors.New("the URI names no cluster, and fs.defaultFS is not set; " + c.where()), Fix: "write hdfs://NAMESERVICE/PATH or hdfs://HOST:PORT/PATH, or set HADOOP_CONF_DIR"}
	}
	rest, ok := strings.CutPrefix(v, "hdfs://")
	host, _, _ := strings.Cut(rest, "/")
	if !ok || host == "" {
		return "", c.wrong("fs.defaultFS", fmt.Errorf("%q is no hdfs URI", v))
	}
	return host, nil
}

// wrong is a complaint about a property's value.
func (c *Config) wrong(name string, err error) error {
	p := c.props[name]
	return &Error{File: p.file, Line: p.line, Prop: name, Err: err}
}

// list is a property of names with commas between.
func (c *Config) list(name string) ([]string, error) {
	v, err := c.Get(name)
	var out []string
	for s := range strings.SplitSeq(v, ",") {
		if s = strings.TrimSpace(s); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, err
}

// maxNameNodes bounds a nameservice's; HDFS recommends three, five at most.
const maxNameNodes = 32

// nameservice finds the NameNodes of one.
func (c *Config) nameservice(ns string) ([]NameNode, error) {
	list := "dfs.ha.namenodes." + ns
	ids, err := c.list(list)
	if err != nil {
		return nil, err
	}
	if len(ids) > maxNameNodes {
		return nil, c.wrong(list, fmt.Errorf("%d NameNodes, more than %d", len(ids), maxNameNodes))
	}
	if len(ids) == 0 {
		n, err := c.nameNode("." + ns)
		if err != nil {
			return nil, err
		}
		if n.RPC == "" { // of the only one
			if n, err = c.nameNode(""); err != nil {
				return nil, err
			}
		}
		if n.RPC == "" {
			return nil, c.wrong("dfs.nameservices", fmt.Errorf("neither dfs.ha.namenodes.%s nor dfs.namenode.rpc-address.%s is set", ns, ns))
		}
		return []NameNode{n}, nil
	}
	var out []NameNode
	for _, id := range ids {
		n, err := c.nameNode("." + ns + "." + id)
		if err != nil {
			return nil, err
		}
		if n.RPC == "" {
			return nil, c.wrong(list, fmt.Errorf("it names %s, and dfs.namenode.rpc-address.%s.%s is not set", id, ns, id))
		}
		n.ID = id
		out = append(out, n)
	}
	return out, nil
}

// nameNode reads the addresses whose properties end in suffix.
func (c *Config) nameNode(suffix string) (n NameNode, err error) {
	read := func(name, port string) (string, error) {
		v, err := c.Get(name)
		if err != nil || v == "" {
			return "", err
		}
		a, err := address(v, port)
		if err != nil {
			return "", c.wrong(name, err)
		}
		return a, nil
	}
	if n.RPC, err = read("dfs.namenode.rpc-address"+suffix, defaultPort); err != nil {
		return n, err
	}
	n.HTTP, err = read("dfs.namenode.http-address"+suffix, "9870")
	return n, err
}

// address checks HOST:PORT; without a port it is the given one.
func address(v, port string) (string, error) {
	if !strings.Contains(v, ":") && port != "" {
		v += ":" + port
	}
	host, p, err := net.SplitHostPort(v)
	if err != nil {
		return "", fmt.Errorf("%q is no HOST:PORT", v)
	}
	if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@?# ") {
		return "", fmt.Errorf("%q is no HOST:PORT", v)
	}
	return net.JoinHostPort(host, p), nil
}

// settings reads what is not an address. A property may be set for the nameservice alone.
func (c *Config) settings(out *Cluster, ns string) error {
	get := func(name string) (string, string, error) {
		if _, own := c.props[name+"."+ns]; own {
			name += "." + ns
		}
		v, err := c.Get(name)
		return v, name, err
	}
	for _, s := range []struct {
		name string
		take func(v string) error
	}{
		{"hadoop.security.authentication", func(v string) error {
			out.Kerberos = strings.EqualFold(v, "kerberos")
			if !out.Kerberos && !strings.EqualFold(v, "simple") {
				return fmt.Errorf("%q is neither simple nor kerberos", v)
			}
			return nil
		}},
		{"dfs.namenode.kerberos.principal", func(v string) error { out.Principal = v; return nil }},
		{"dfs.client.use.datanode.hostname", func(v string) error { out.UseDatanodeHostname = strings.EqualFold(v, "true"); return nil }},
		{"dfs.encrypt.data.transfer", func(v string) error { out.EncryptData = strings.EqualFold(v, "true"); return nil }},
		{"dfs.data.transfer.protection", func(v string) error {
			for s := range strings.SplitSeq(strings.ToLower(v), ",") {
				switch s = strings.TrimSpace(s); s { // the higher is the later in the alphabet
				case "authentication", "integrity", "privacy":
					out.DataProtection = max(out.DataProtection, s)
				default:
					return fmt.Errorf("%q is none of authentication, integrity, privacy", s)
				}
			}
			return nil
		}},
		{"dfs.replication", func(v string) (err error) {
			if out.Replication, err = strconv.Atoi(v); err != nil || out.Replication < 1 || out.Replication > 512 {
				return fmt.Errorf("%q is no number from 1 to 512", v)
			}
			return nil
		}},
		{"dfs.blocksize", func(v string) (err error) { out.BlockSize, err = size(v); return err }},
		{"fs.permissions.umask-mode", func(v string) error {
			mask, err := umask(v)
			out.Perm = 0o777 &^ mask
			return err
		}},
		{"dfs.client.socket-timeout", func(v string) error {
			ms, err := strconv.ParseInt(strings.TrimSuffix(v, "ms"), 10, 32)
			if err != nil || ms < 0 {
				return fmt.Errorf("%q is no number of milliseconds", v)
			}
			out.DataTimeout = time.Duration(ms) * time.Millisecond
			return nil
		}},
	} {
		v, name, err := get(s.name)
		if err != nil {
			return err
		}
		if v == "" {
			continue
		}
		if err := s.take(v); err != nil {
			return c.wrong(name, err)
		}
	}
	return nil
}

// size reads bytes with a letter behind, as Hadoop: 128m.
func size(v string) (int64, error) {
	digits, shift := v, 0
	if n := len(v); n > 1 {
		if i := strings.IndexByte("kmgtpe", v[n-1]|0x20); i >= 0 {
			digits, shift = v[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is no size", v)
	}
	return n << shift, nil
}

// umask reads 022 or u=rwx,g=rx,o=.
func umask(v string) (os.FileMode, error) {
	if n, err := strconv.ParseUint(v, 8, 32); err == nil && n <= 0o777 {
		return os.FileMode(n), nil
	}
	mask := os.FileMode(0o777)
	for part := range strings.SplitSeq(v, ",") {
		who, rights, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || len(who) != 1 {
			return 0, fmt.Errorf("%q is no umask such as 022 or u=rwx,g=rx,o=", v)
		}
		var bits os.FileMode
		for _, r := range rights {
			at := strings.IndexRune("xwr-", r)
			if at < 0 {
				return 0, fmt.Errorf("%q is no umask such as 022 or u=rwx,g=rx,o=", v)
			}
			if at < 3 {
				bits |= 1 << at
			}
		}
		switch who {
		case "u":
			mask = mask&^0o700 | (7&^bits)<<6
		case "g":
			mask = mask&^0o070 | (7&^bits)<<3
		case "o":
			mask = mask&^0o007 | 7&^bits
		case "a":
			mask = (7 &^ bits) * 0o111
		default:
			return 0, fmt.Errorf("%q is no umask such as 022 or u=rwx,g=rx,o=", v)
		}
	}
	return mask, nil
}
