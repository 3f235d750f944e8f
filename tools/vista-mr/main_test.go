package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run this program as the command vista-mr, in a process of its own, without a build.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vista-mr": main})
}

// fakeRuntime is a library that says of itself that it is ONNX Runtime, for scripts that run nothing.
const fakeRuntime = `static const void *api(unsigned n) { return 0; }
static const char *version(void) { return "1.30.0"; }
static struct { const void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
void *OrtGetApiBase(void) { return &base; }`

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	source, lib := filepath.Join(dir, "ort.c"), filepath.Join(dir, "libonnxruntime.so")
	if err := os.WriteFile(source, []byte(fakeRuntime), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-o", lib, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b) // cgo needs a compiler, so there is one
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			fixtures, err := filepath.Abs("../../jobs/images/testdata")
			if err != nil {
				return err
			}
			env.Setenv("FIXTURES", fixtures)
			return os.Link(lib, filepath.Join(env.WorkDir, "libonnxruntime.so"))
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":      code,
			"grouped":   grouped,
			"interrupt": interrupt,
			"tables":    tables,
			"tty":       tty,
			"json":      checkJSON,
		},
	})
}

// code runs vista-mr and wants an exit code: code 3 validate job.yaml.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("vista-mr", args[1:]...)
	if got := exitCode(err); got != want {
		ts.Fatalf("exit code %d, want %d (%v)", got, want, err)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// interrupt runs vista-mr, sends it a signal once a file is there, and wants an exit code:
// interrupt TERM 143 FILE synth foods DIR.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: interrupt INT|TERM N FILE ARG...")
	}
	sig := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}[args[0]]
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	cmd, out := command(ts, args[3:])
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for sent := false; ; {
		select {
		case err := <-ended:
			if got := exitCode(err); got != want || !sent {
				ts.Fatalf("exit code %d, want %d; signal sent: %v\n%s", got, want, sent, out)
			}
			return
		case <-tick.C:
			if _, err := os.Stat(ts.MkAbs(args[2])); err == nil && !sent {
				ts.Check(cmd.Process.Signal(sig))
				sent = true
			}
		}
	}
}

// command prepares a run of vista-mr in the script's directory and environment.
func command(ts *testscript.TestScript, args []string) (*exec.Cmd, *bytes.Buffer) {
	var path string
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, "vista-mr"); path == "" {
			if _, err := os.Stat(p); err == nil {
				path = p
			}
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, v := range []string{"PATH", "HOME", "TERM", "NO_COLOR", "CI", "TMPDIR", "VISTA_MR_ORT_LIB", "VISTA_MR_CACHE", "VISTA_MR_JPEG"} {
		if ts.Getenv(v) != "" {
			cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
		}
	}
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// checkJSON wants a file (stdout, stderr or a path) to hold exactly one JSON object with a
// schemaVersion, and values at dotted paths: json stderr error.id E-SET.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 == 0 {
		ts.Fatalf("usage: json FILE [PATH VALUE]...")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	d.UseNumber()
	var root map[string]any
	if err := d.Decode(&root); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	if d.More() {
		ts.Fatalf("%s holds more than one JSON value", args[0])
	}
	if root["schemaVersion"] != json.Number("1") {
		ts.Fatalf("%s: schemaVersion is %v", args[0], root["schemaVersion"])
	}
	for i := 1; i < len(args); i += 2 {
		var v any = root
		for part := range strings.SplitSeq(args[i], ".") {
			switch node := v.(type) {
			case map[string]any:
				v = node[part]
			case []any:
				n, err := strconv.Atoi(part)
				if err != nil || n >= len(node) {
					ts.Fatalf("%s: %s: no element %s", args[0], args[i], part)
				}
				v = node[n]
			default:
				v = nil
			}
		}
		b, err := json.Marshal(v)
		ts.Check(err)
		if got := strings.Trim(string(b), `"`); got != args[i+1] {
			ts.Fatalf("%s: %s is %s, want %s", args[0], args[i], got, args[i+1])
		}
	}
}
