//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
)

// certificate writes a self-signed certificate, and its key, that name nothing.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tracker.crt"), filepath.Join(dir, "tracker.key")
	for name, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// daemon runs a command until the test ends, and sends what it says to a channel, line by line. What it has said is in the buffer
// when it has ended.
func (c *installed) daemon(args ...string) (lines <-chan string, said *bytes.Buffer, stop func()) {
	c.t.Helper()
	cmd := exec.Command(c.program, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	out, err := cmd.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	told, all := make(chan string, 1000), &bytes.Buffer{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(told)
		for in := bufio.NewScanner(out); in.Scan(); {
			all.WriteString(in.Text() + "\n")
			select {
			case told <- in.Text():
			default: // nobody listens any more
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			c.t.Error(err)
		}
		<-read
		_ = cmd.Wait() // by a signal
	})
	c.t.Cleanup(stop)
	return told, all, stop
}

// TestSecretsStaySecret runs a job on a tracker with TLS and a token and on an S3 server, with all logging on, and looks for the
// token and the server's key in everything that was written and said, and in the process lists meanwhile.
func TestSecretsStaySecret(t *testing.T) {
	c := newInstalled(t)
	c.env = append(c.env, "VISTA_MR_TRACKER=")
	settings := server(t, "s3", "bin/versitygw", "versitygw")
	for name, value := range settings {
		c.env = append(c.env, name+"="+value)
	}
	const token = "t0ken-that-nobody-may-read"
	secrets := map[string]string{"the token": token, "the store's key": settings["AWS_SECRET_ACCESS_KEY"]}
	keys := t.TempDir()
	cert, key := certificate(t, keys)
	pem, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	secrets["the tracker's key"] = strings.Split(string(pem), "\n")[1]
	file := filepath.Join(keys, "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "job.yaml"), []byte(clusterJob), 0o666); err != nil {
		t.Fatal(err)
	}
	c.run("synth", "foods", "--records", "40", "--seed", "4", "data")

	scratch := t.TempDir()
	lines, tracker, endTracker := c.daemon("tracker", "--log-level", "debug", "--listen", "127.0.0.1:0", "--cert", cert, "--key", key, "--token-file", file,
		"--state", "s3://vista/state", "--scratch", filepath.Join(scratch, "tracker"))
	url := ""
	for line := range lines {
		if u, ok := strings.CutPrefix(line, "tracker: "); ok {
			url = u
			break
		}
	}
	if !strings.HasPrefix(url, "https://") {
		t.Fatalf("the tracker listens at %q", url)
	}
	_, worker, endWorker := c.daemon("worker", "--log-level", "debug", "--tracker", url, "--ca", cert, "--token-file", file, "--slots", "1", "--scratch", scratch)
	if _, said, err := c.try("jobs", "--tracker", url, "--ca", cert); exitCode(err) != 6 || !strings.Contains(said, "E-TRACKER") {
		t.Errorf("without the token: exit code %d\n%s", exitCode(err), said)
	}
	if _, said, err := c.try("jobs", "--tracker", url, "--token-file", file); exitCode(err) != 6 || !strings.Contains(said, "--ca") {
		t.Errorf("without the certificate: exit code %d\n%s", exitCode(err), said)
	}
	c.env = append(c.env, "VISTA_MR_TOKEN="+token, "VISTA_MR_CA="+cert, "VISTA_MR_TRACKER="+url)
	var all strings.Builder
	listed, drivers := make(chan struct{}), 0
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // what ps shows while it runs
		defer close(listed)
		for ctx.Err() == nil {
			names, err := filepath.Glob("/proc/[0-9]*/cmdline")
			if err != nil {
				t.Error(err)
			}
			for _, n := range names {
				line, err := os.ReadFile(n)
				if err != nil || !bytes.HasPrefix(line, []byte(c.program)) {
					continue // it has ended, or is somebody else's
				}
				if bytes.Contains(line, []byte("\x00submit\x00")) && bytes.Contains(line, []byte("-o\x00json")) {
					drivers++
				}
				for what, secret := range secrets {
					if bytes.Contains(line, []byte(secret)) {
						t.Errorf("%s stands in the process list: %q", what, line)
					}
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	stdout, stderr, err := c.try("submit", "job.yaml", "--log-level", "debug", "--set", "output=s3://vista/out", "--set", "plan.partitions=2")
	cancel()
	<-listed
	if err != nil {
		t.Fatalf("submit: %v\n%s%s", err, stdout, stderr)
	}
	if drivers == 0 {
		t.Error("no driver was seen")
	}
	_, wrong, _ := c.try("submit", "job.yaml", "--set", "table.uri=s3://nothing/here.csv", "--set", "output=s3://vista/bad")
	all.WriteString(stdout + stderr + wrong)
	for _, args := range [][]string{{"jobs", "-o", "json"}, {"workers", "-o", "json"}, {"doctor", "s3://vista/out"}} {
		all.WriteString(c.run(args...))
	}
	id := strings.Fields(c.run("jobs"))
	for _, f := range id {
		if strings.HasPrefix(f, "clustered-") {
			all.WriteString(c.run("status", f, "-o", "json") + c.run("logs", f))
		}
	}
	endWorker()
	endTracker()
	all.WriteString(tracker.String() + worker.String())
	for what, secret := range secrets {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%s was said:\n%s", what, all.String())
		}
	}
	if !strings.Contains(all.String(), "s3://vista/out") {
		t.Errorf("nothing was said:\n%s", all.String())
	}
	files := 0
	look := func(name string, data []byte) {
		files++
		for what, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s stands in %s", what, name)
			}
		}
	}
	for _, dir := range []string{scratch, c.dir} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(name)
			look(name, data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) string { return settings[name] }
	bucket, err := dfs.NewMux(map[string]dfs.OpenFunc{"s3": s3.NewOpener(func() s3.Config { return s3.Config{Env: env} }).Open}).Folder(t.Context(), "s3://vista")
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range bucket.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		data, err := dfs.ReadFile(t.Context(), bucket, i.Path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		look(string(i.Path), data)
	}
	if files < 20 {
		t.Errorf("only %d files were looked at", files)
	}
}
