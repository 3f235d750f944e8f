//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	goimage "image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/layers/ort"
)

// trap is a file that asks for far more than it is, and what becomes of a job that is given it.
type trap struct {
	name string
	make func(t *testing.T) []byte
	file string   // where it lies
	set  []string // what a sound job is changed to
	run  string   // validate or submit
	code int
	want string // in what is printed
}

// TestHostileFiles gives the program files that are made to exhaust it, one for each reader, and holds it to what is
// promised of them: a clear error and its exit code, or a bad record among good ones; less than a GiB, less than 30 s.
func TestHostileFiles(t *testing.T) {
	if raced() {
		t.Skip("make test runs it without the race detector: the files themselves take minutes to make under it")
	}
	lib, err := ort.FindLibrary()
	if err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	const most, longest = int64(1 << 30), 30 * time.Second
	// What users run: the race detector would take several times the memory and the time that are promised here.
	program := filepath.Join(t.TempDir(), "vista-mr")
	if b, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	cache := t.TempDir()
	for _, c := range slices.Concat(jobTraps(), modelTraps(), tableTraps(), parquetTraps(), imageTraps(), pictureTraps()) {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			soundJob(t, dir)
			name := filepath.Join(dir, c.file)
			if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, c.make(t), 0o666); err != nil {
				t.Fatal(err)
			}
			args := []string{c.run, "job.yaml"}
			for _, s := range c.set {
				args = append(args, "--set", s)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "VISTA_MR_ORT_LIB="+lib, "VISTA_MR_CACHE="+cache, "NO_COLOR=1")
			var printed bytes.Buffer
			cmd.Stdout, cmd.Stderr = &printed, &printed
			start := time.Now()
			peak, err := watch(cmd)
			wall, out := time.Since(start), printed.Bytes()
			// The processor's time: these machines are shared.
			took := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			t.Logf("%v of processor time, %v by the clock, %d MiB: %.400s", took.Round(time.Millisecond), wall.Round(time.Millisecond), peak>>20, lastLines(out))
			if got := exitCode(err); got != c.code {
				t.Errorf("exit code %d, want %d\n%.2000s", got, c.code, out)
			}
			if bytes.Contains(out, []byte("goroutine ")) || bytes.Contains(out, []byte("panic")) || !strings.Contains(string(out), c.want) {
				t.Errorf("it says\n%.2000s\nwant %q", out, c.want)
			}
			if peak > most || took > longest {
				t.Errorf("it took %v and %d MiB", took, peak>>20)
			}
		})
	}
}

// watch runs a command and notes the most memory that it has had. What the kernel reports at its end would include
// this test's own, which it starts from.
func watch(cmd *exec.Cmd) (peak int64, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-tick.C:
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			if err != nil {
				continue // it ends
			}
			if _, rest, ok := strings.Cut(string(b), "VmHWM:"); ok {
				kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
				if n, err := strconv.ParseInt(kib, 10, 64); err == nil {
					peak = max(peak, n<<10)
				}
			}
		}
	}
}

// raced tells whether the test is built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// soundJob writes 60 records with a small picture each, a small network, and a job over them.
func soundJob(t *testing.T, dir string) {
	t.Helper()
	write := func(name string, data []byte) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	table := "id,x,label\n"
	for i := range 60 {
		table += fmt.Sprintf("r%02d,%d,%d\n", i, i*7%13, i*i%7%2)
		m := goimage.NewGray(goimage.Rect(0, 0, 40, 36))
		for k := range m.Pix {
			m.Pix[k] = byte(k * (i + 1))
		}
		write(fmt.Sprintf("images/r%02d.png", i), pngOf(t, m))
	}
	write("table.csv", []byte(table))
	write("net.onnx", small().Marshal())
	write("job.yaml", []byte(`apiVersion: vista-mr/v1
name: hostile
table: {uri: table.csv, key: id, label: label}
images: {uri: images}
cnn: {model: net.onnx, layers: 1}
downstream: {iterations: 2}
limits: {maxBadFraction: 0.5}
output: out
`))
}

func pngOf(t *testing.T, m goimage.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func text(s string) func(*testing.T) []byte { return func(*testing.T) []byte { return []byte(s) } }

func jobTraps() []trap {
	laughs := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'm'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	return []trap{
		{name: "job of aliases", make: text(laughs), file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "job of brackets", make: text("name: " + strings.Repeat("[", 900_000)), file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "job of braces", make: text(strings.Repeat("{a: ", 200_000)), file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "job of zeros", make: func(*testing.T) []byte { return make([]byte, 64<<20) }, file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "preprocessing of brackets", make: text(strings.Repeat("[", 8<<20)), file: "pre.json", set: []string{"cnn.preprocess=pre.json"}, run: "validate", code: 3, want: "E-PREPROCESS"},
	}
}
