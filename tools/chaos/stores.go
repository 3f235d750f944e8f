//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strings"

	hadoop "github.com/colinmarc/hdfs/v2"
	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/hdfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
)

// storage is where output and state of runs lie, and their data.
type storage interface {
	// open returns a run's folder, seen past all proxies.
	open(r *run) (dfs.FS, error)
	uri(r *run) string    // of the run's folder
	data(b *bench) string // URI of the folder with table and images
	server() string       // that processes reach through proxies; "": none
	// reach returns the environment of a process that reaches the server at an address.
	reach(at string) ([]string, error)
	kill(r *run, which int) func() error
	stop(r *run, which int) func() error
	// left are files below a folder of the run that nobody sees and that stay, and folders with nothing in them.
	left(ctx context.Context, r *run, dir string) ([]string, error)
	remove(ctx context.Context, r *run) error
	close() error
}

// servers tells why a store's servers cannot be started; nil: they can.
func servers(store string) error {
	switch store {
	case "local":
		return nil
	case "s3":
		_, err := os.Stat("build/servers/bin/versitygw")
		return err
	case "hdfs":
		if _, err := os.Stat("build/servers/hadoop/pom.xml"); err != nil {
			return err
		}
		_, err := exec.LookPath("java")
		return err
	}
	return fmt.Errorf("there is no store %q: local, s3 or hdfs", store)
}

// newStorage starts what a store needs, in a folder of its own, and puts the data there.
func newStorage(ctx context.Context, b *bench, store, dir string) (storage, error) {
	if store == "local" {
		return onDisk{}, nil
	}
	s := &served{kind: store, dir: dir, script: filepath.Join(b.root, "tools/servers", store+".sh")}
	args := []string{"start", dir, fmt.Sprint(os.Getpid())}
	if store == "s3" {
		args = slices.Insert(args, 1, "versitygw")
	}
	if err := s.sh(ctx, args...); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.values = map[string]string{}
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		if name, value, ok := strings.Cut(in.Text(), "="); ok {
			s.values[name] = strings.Trim(value, `'"`)
		}
	}
	if err := s.upload(ctx, b.dataDir); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// onDisk is the local disk.
type onDisk struct{}

func (onDisk) open(r *run) (dfs.FS, error) {
	return local.New(filepath.Join(r.dir, "disk"), false), nil
}
func (onDisk) uri(r *run) string                  { return filepath.Join(r.dir, "disk") }
func (onDisk) data(b *bench) string               { return b.dataDir }
func (onDisk) server() string                     { return "" }
func (onDisk) reach(string) ([]string, error)     { return nil, nil }
func (onDisk) kill(*run, int) func() error        { return nil }
func (onDisk) stop(*run, int) func() error        { return nil }
func (onDisk) remove(context.Context, *run) error { return nil } // with the run's folder
func (onDisk) close() error                       { return nil }

func (onDisk) left(_ context.Context, r *run, dir string) (out []string, err error) {
	root := filepath.Join(r.dir, "disk", dir)
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if d.IsDir() {
			if all, rerr := os.ReadDir(name); rerr == nil && len(all) == 0 {
				out = append(out, rel+"/")
			}
		} else if strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_job.json.") {
			out = append(out, rel)
		}
		return err
	})
	return out, err
}

// served is a store with servers of its own.
type served struct {
	kind   string
	dir    string
	script string
	values map[string]string
}

// sh calls the script of the servers. Its output goes to a file: a pipe would be held open by what it starts.
func (s *served) sh(ctx context.Context, args ...string) error {
	f, err := os.CreateTemp("", "vista-chaos-out-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // a small file in the temporary folder
	defer f.Close()           // nothing is written to it here
	cmd := exec.CommandContext(ctx, s.script, args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(f.Name()) // it fails anyway
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(s.script), strings.Join(args, " "), err, bytes.TrimSpace(said))
	}
	return nil
}

func (s *served) whole(root string) (dfs.FS, error) {
	if s.kind == "s3" {
		return s3.New("vista", dfs.Path(root), s3.Config{Env: func(name string) string { return s.values[name] }})
	}
	return hdfs.New(hdfs.Options{Name: "chaos", Addresses: []string{s.values["NN_RPC"]}, User: whoami(), Replication: 2}, "/"+root)
}

// whoami is the user who started the servers, and so is their superuser.
func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

func (s *served) open(r *run) (dfs.FS, error) { return s.whole(r.id) }
func (s *served) uri(r *run) string           { return s.base() + "/" + r.id }
func (s *served) data(*bench) string          { return s.base() + "/data" }

func (s *served) base() string {
	if s.kind == "s3" {
		return "s3://vista"
	}
	return "hdfs://chaos"
}

func (s *served) server() string {
	if s.kind == "s3" {
		return strings.TrimPrefix(s.values["AWS_ENDPOINT_URL_S3"], "http://")
	}
	return s.values["NN_RPC"]
}

func (s *served) reach(at string) ([]string, error) {
	if s.kind == "s3" {
		return []string{"AWS_ENDPOINT_URL_S3=http://" + at, "AWS_ACCESS_KEY_ID=" + s.values["AWS_ACCESS_KEY_ID"],
			"AWS_SECRET_ACCESS_KEY=" + s.values["AWS_SECRET_ACCESS_KEY"], "AWS_REGION=" + s.values["AWS_REGION"], "AWS_EC2_METADATA_DISABLED=true"}, nil
	}
	conf := filepath.Join(s.dir, "conf-"+strings.ReplaceAll(at, ":", "-"))
	return []string{"HADOOP_CONF_DIR=" + conf, "HADOOP_USER_NAME=" + whoami()}, configure(conf, at)
}

// configure writes the configuration of a process that reaches the NameNode at an address.
func configure(dir, at string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	file := func(props ...string) []byte {
		var b bytes.Buffer
		b.WriteString("<configuration>\n")
		for i := 0; i < len(props); i += 2 {
			fmt.Fprintf(&b, "<property><name>%s</name><value>%s</value></property>\n", props[i], props[i+1])
		}
		b.WriteString("</configuration>\n")
		return b.Bytes()
	}
	// One replica less than there are DataNodes, as docs/storage.md advises.
	return errors.Join(os.WriteFile(filepath.Join(dir, "core-site.xml"), file("fs.defaultFS", "hdfs://chaos"), 0o666),
		os.WriteFile(filepath.Join(dir, "hdfs-site.xml"), file("dfs.nameservices", "chaos", "dfs.ha.namenodes.chaos", "nn",
			"dfs.namenode.rpc-address.chaos.nn", at, "dfs.replication", "2"), 0o666))
}

func (s *served) upload(ctx context.Context, from string) error {
	to, err := s.whole("data")
	if err != nil {
		return err
	}
	defer closeFS(to)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	err = filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		g.Go(func() error {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return dfs.WriteFile(ctx, to, dfs.Path(filepath.ToSlash(rel)), b)
		})
		return nil
	})
	return errors.Join(err, g.Wait())
}

// closeFS lets go of connections.
func closeFS(f dfs.FS) {
	if c, ok := f.(*hdfs.FS); ok {
		_ = c.Close() // nothing is written by it
	}
}

// name is what a server is called by the script.
func (s *served) name(which int) string { return fmt.Sprintf("dn%d", which+1) }

func (s *served) kill(r *run, which int) func() error {
	kill, again := []string{"kill", s.dir}, []string{"start", "versitygw", s.dir}
	if s.kind == "hdfs" {
		kill, again = append(kill, s.name(which)), []string{"restart", s.dir, s.name(which)}
	}
	return r.server(kill, again, s)
}

func (s *served) stop(r *run, which int) func() error {
	stop, again := []string{"pause", s.dir}, []string{"resume", s.dir}
	if s.kind == "hdfs" {
		stop, again = []string{"kill", s.dir, s.name(which), "STOP"}, []string{"kill", s.dir, s.name(which), "CONT"}
	}
	return r.server(stop, again, s)
}

// server does something to a server and returns what undoes it. One that is down already is left alone.
func (r *run) server(do, undo []string, s *served) func() error {
	r.mu.Lock()
	down := r.down
	r.down = true
	r.mu.Unlock()
	if down {
		return nil
	}
	r.mu.Lock()
	r.storeFailed = true
	r.mu.Unlock()
	if err := s.sh(context.Background(), do...); err != nil {
		r.bad("%v", err)
		return nil
	}
	return func() error {
		err := s.sh(context.Background(), undo...)
		r.mu.Lock()
		r.down = false
		r.mu.Unlock()
		return err
	}
}

func (s *served) left(ctx context.Context, r *run, dir string) (out []string, err error) {
	if s.kind == "s3" {
		f, err := s3.New("vista", dfs.Path(r.id), s3.Config{Env: func(name string) string { return s.values[name] }})
		if err != nil {
			return nil, err
		}
		all, err := f.Uploads(ctx, dfs.Path(dir))
		for _, u := range all {
			out = append(out, "upload of "+string(u.Path))
		}
		return out, err
	}
	c, err := hadoop.NewClient(hadoop.ClientOptions{Addresses: []string{s.values["NN_RPC"]}, User: whoami()})
	if err != nil {
		return nil, err
	}
	defer c.Close() // reading only
	root := path.Join("/", r.id, dir)
	var walk func(name string) error
	walk = func(name string) error {
		all, err := c.ReadDir(name)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			out = append(out, strings.TrimPrefix(strings.TrimPrefix(name, root)+"/", "/"))
		}
		for _, i := range all {
			switch below := path.Join(name, i.Name()); {
			case i.IsDir():
				if err := walk(below); err != nil {
					return err
				}
			case strings.HasPrefix(i.Name(), "."):
				out = append(out, strings.TrimPrefix(below, root+"/"))
			}
		}
		return nil
	}
	return out, walk(root)
}

func (s *served) remove(ctx context.Context, r *run) error {
	f, err := s.open(r)
	if err != nil {
		return err
	}
	defer closeFS(f)
	return dfs.RemoveAll(ctx, f, "")
}

func (s *served) close() error {
	return errors.Join(s.sh(context.Background(), "stop", s.dir), os.RemoveAll(s.dir))
}
