// Package store connects the stores that URIs name with the settings of the machine: Hadoop's configuration files and the
// environment of Kerberos.
//
// Invariant: a cluster is connected to once in a process, and nothing is read from files or the network before a URI of
// its scheme is opened. The package decides nothing about jobs; package run puts its openers into a dfs.Mux.
package store

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vista-mr/vista-mr/conf/hadoop"
	"github.com/vista-mr/vista-mr/mr/dfs/hdfs"
)

// HDFS opens hdfs URIs.
var HDFS = hdfs.Opener{Resolve: func(authority string) (hdfs.Options, error) { return resolve(authority, hadoopConfig, os.Getenv) }}

// hadoopConfig reads the configuration once: one process speaks to clusters as one configuration describes them.
var hadoopConfig = sync.OnceValues(func() (*hadoop.Config, error) { return hadoop.Load(os.Getenv) })

// resolve says how the cluster of a URI is spoken to.
func resolve(authority string, config func() (*hadoop.Config, error), getenv func(string) string) (hdfs.Options, error) {
	c, err := config()
	if err != nil {
		return hdfs.Options{}, err
	}
	cluster, err := c.Cluster(authority)
	if err != nil {
		return hdfs.Options{}, err
	}
	o := hdfs.Options{Name: cluster.Name, Addresses: cluster.Addresses(), User: cluster.User, Replication: cluster.Replication, BlockSize: cluster.BlockSize,
		Perm: cluster.Perm, UseDatanodeHostname: cluster.UseDatanodeHostname, DataProtection: cluster.DataProtection, EncryptData: cluster.EncryptData,
		DataTimeout: cluster.DataTimeout}
	if cluster.Guessed {
		known := "none are known"
		if len(cluster.Known) > 0 {
			known = "those known are " + strings.Join(cluster.Known, ", ")
		}
		o.Unknown = fmt.Sprintf("%s is no nameservice either: %s; %s", authority, known, cluster.Where)
	}
	if cluster.Kerberos {
		o.Kerberos = kerberos(getenv)
		o.Kerberos.Service = cluster.Principal
	}
	return o, nil
}

// kerberos finds the identity where MIT's programs look for it, and a principal of the keytab where one is named.
func kerberos(getenv func(string) string) *hdfs.Kerberos {
	file := func(name string) string { return strings.TrimPrefix(getenv(name), "FILE:") }
	return &hdfs.Kerberos{Config: cmp.Or(file("KRB5_CONFIG"), "/etc/krb5.conf"), Keytab: file("KRB5_CLIENT_KTNAME"), Principal: getenv("VISTA_MR_PRINCIPAL"),
		Cache: cmp.Or(file("KRB5CCNAME"), filepath.Join(os.TempDir(), fmt.Sprintf("krb5cc_%d", os.Getuid())))}
}
