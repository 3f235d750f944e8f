package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/dfs/hdfs"
)

const servers = "../servers/hdfs.sh"

// TestJobsOnHDFS runs whole jobs on the files of a real cluster.
func TestJobsOnHDFS(t *testing.T) {
	lib, err := ort.FindLibrary()
	if err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	if _, err := os.Stat("../../build/servers/hadoop/pom.xml"); err != nil {
		dfstest.Missing(t, "hdfs", "the servers are not there: make servers")
	}
	if _, err := exec.LookPath("java"); err != nil {
		dfstest.Missing(t, "hdfs", "no Java (Debian: default-jdk-headless)")
	}
	dir := filepath.Join(t.TempDir(), "hdfs")
	t.Cleanup(func() {
		if out, err := exec.Command(servers, "stop", dir).CombinedOutput(); err != nil {
			t.Errorf("stop: %v\n%s", err, out)
		}
	})
	if out, err := exec.CommandContext(t.Context(), servers, "start", dir, fmt.Sprint(os.Getpid())).CombinedOutput(); err != nil {
		t.Fatalf("start: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	value := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		value[name] = v
	}
	cache := t.TempDir()
	// put copies a local folder to the cluster, as whoever started that.
	put := func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: hdfs-put FOLDER PATH")
		}
		to, err := hdfs.New(hdfs.Options{Addresses: []string{value["NN_RPC"]}, User: ts.Getenv("HADOOP_USER_NAME")}, "/")
		ts.Check(err)
		defer to.Close()
		ts.Check(copyFolder(t.Context(), to, dfs.Path(args[1]), ts.MkAbs(args[0])))
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/hdfs",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("VISTA_MR_ORT_LIB", lib)
			env.Setenv("VISTA_MR_CACHE", filepath.Join(cache, filepath.Base(env.WorkDir)))
			env.Setenv("HADOOP_CONF_DIR", value["CONF"])
			env.Setenv("HADOOP_USER_NAME", superuser())
			env.Setenv("HDFS", "hdfs://"+value["NN_RPC"])
			return nil
		},
		Condition: condition,
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"code": code, "hdfs-put": put},
	})
}

// superuser of a cluster is who started it.
func superuser() string {
	u, err := user.Current()
	if err != nil {
		return "root"
	}
	return u.Username
}
