package conf

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 40 {
		t.Fatalf("%d bad files; they are missing", len(files))
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(filepath.Base(f), data, nil)
			if err == nil {
				t.Fatal("accepted")
			}
			checkError(t, err)
			golden(t, strings.TrimSuffix(f, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

func TestBadSets(t *testing.T) {
	base, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, set := range []string{
		"plan.inference", "=lazy", "plan.inference=lasy", "plan.inferense=lazy", "downstram.reg=1", "reg=0.5", "downstream.reg=-1", "downstream.reg=abc",
		"seed=x", "cnn.layers=0", "cnn.layers=", "cnn.layers=fc6,fc6", "limits.memory=16", "keep.features=yes", "name.first=x", "table.features.0=x",
		"table.key=", "cnn.preprocess={resize: 0}", "cnn.preprocess.resize=0", "downstream.folds=1", "downstream.grid={regg: [1]}", "downstream.grid.reg=1,x", "output=data/images",
		"name=&a foods", "plan=*x", "images.uri=gs://b/k", "a.b.c=1", "seed: 3", "output=a\x1b[2Jb",
	} {
		_, err := Load("minimal.yaml", base, []string{"seed=3", set})
		if err == nil {
			t.Errorf("--set %s: accepted", set)
			continue
		}
		checkError(t, err)
		var e *Error
		if !errors.As(err, &e) || !e.InSet() || e.ErrorID() != "E-SET" {
			t.Errorf("--set %s: not reported as the override's fault: %v", set, err)
		}
		out.WriteString(err.Error() + "\n\n")
	}
	golden(t, "testdata/bad-sets.txt", out.String())
}

func TestSetAndFileProblemsTogether(t *testing.T) {
	_, err := Load("f.yaml", []byte("apiVersion: vista-mr/v1\nseed: -1\n"), []string{"name=ok", "plan.cpu=0"})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e.InSet() || e.ErrorID() != "E-JOB-FILE" {
		t.Errorf("id %s although the file is bad too", e.ErrorID())
	}
	if n := len(e.Problems); n < 6 || e.Problems[n-1].Set != "plan.cpu=0" {
		t.Errorf("problems not in order, file first: %+v", e.Problems)
	}
}

// checkError tests what holds for every error: places exist, nothing is left that a terminal acts upon.
func checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is no *Error", err)
	}
	if len(e.Problems) == 0 || e.Hint() == "" {
		t.Errorf("no problem or no hint")
	}
	for _, p := range e.Problems {
		if (p.Line < 1) == (p.Set == "") || p.Column < 1 {
			t.Errorf("place %d:%d set %q of %q", p.Line, p.Column, p.Set, p.Message)
		}
	}
	for _, r := range err.Error() {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			t.Errorf("control character %U in the message", r)
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, "example.yaml") {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		job, err := Load(f, data, nil)
		if err != nil {
			t.Errorf("%s:\n%v", f, err)
			continue
		}
		if strings.HasPrefix(f, "testdata") {
			b, err := json.MarshalIndent(struct {
				Job     *Job
				Origins []Origin
			}{job, job.Origins()}, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(f, ".yaml")+".json", string(b)+"\n")
		}
	}
}

// The example shows every key.
func TestExampleIsComplete(t *testing.T) {
	job, err := Load("example.yaml", []byte(Example()), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range job.Origins() {
		key := o.Path[strings.LastIndex(o.Path, ".")+1:]
		if !strings.Contains(Example(), key+":") {
			t.Errorf("the example does not show %s", o.Path)
		}
	}
}

// switchedOn is a line of the example without its comment sign, and the key that it then has; ok is false for a line that
// comments on something else.
func switchedOn(line string) (on, key string, ok bool) {
	m := regexp.MustCompile(`^( *)# (([A-Za-z]+): .*)$`).FindStringSubmatch(line)
	if m == nil {
		return "", "", false
	}
	return m[1] + m[2], m[3], true
}

// TestExampleCanBeSwitchedOn: each key that the example comments out works as it stands there, alone and with all others; and
// below the head every comment is such a key.
func TestExampleCanBeSwitchedOn(t *testing.T) {
	accepted := func(what, text string) {
		t.Helper()
		if _, err := Load("example.yaml", []byte(text), nil); err != nil {
			t.Errorf("with %s switched on:\n%v", what, err)
		} else if err := editorsAccept(t, []byte(text)); err != nil {
			t.Errorf("with %s switched on, the schema refuses it: %v", what, err)
		}
	}
	lines := strings.Split(Example(), "\n")
	head := slices.IndexFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "#") })
	all := slices.Clone(lines)
	section, seen := "", map[string]bool{}
	n := 0
	for i, line := range lines[head:] {
		i += head
		if line != "" && !strings.ContainsAny(line[:1], " #") {
			section, _, _ = strings.Cut(line, ":")
		}
		on, key, ok := switchedOn(line)
		if !ok {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				t.Errorf("line %d is a comment that cannot be switched on: %s", i+1, line)
			}
			continue
		}
		n++
		one := slices.Clone(lines)
		one[i] = on
		accepted(strings.TrimSpace(line), strings.Join(one, "\n"))
		if path := section + "." + key; !seen[path] { // what stands there twice is one thing or the other
			seen[path] = true
			all[i] = on
		}
	}
	accepted("all keys", strings.Join(all, "\n"))
	if n < 30 {
		t.Errorf("only %d keys are commented out", n)
	}
}

func TestSetTypes(t *testing.T) {
	base, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		set  string
		want func(*Job) any
		val  any
	}{
		{"seed=7", func(j *Job) any { return j.Seed }, int64(7)},
		{"name=2024", func(j *Job) any { return j.Name }, "2024"},
		{"table.key=true", func(j *Job) any { return j.Table.Key }, "true"},
		{"table.label=a: b", func(j *Job) any { return j.Table.Label }, "a: b"},
		{"table.label=#x", func(j *Job) any { return j.Table.Label }, "#x"},
		{"table.features=a,b", func(j *Job) any { return strings.Join(j.Table.Features, "|") }, "a|b"},
		{"table.features=[a, '7']", func(j *Job) any { return strings.Join(j.Table.Features, "|") }, "a|7"},
		{"table.features=7", func(j *Job) any { return strings.Join(j.Table.Features, "|") }, "7"},
		{"table.features=", func(j *Job) any { return len(j.Table.Features) }, 0},
		{"cnn.layers=3", func(j *Job) any { return j.CNN[0].Layers.Last }, 3},
		{"cnn.layers=fc6", func(j *Job) any { return strings.Join(j.CNN[0].Layers.Names, "|") }, "fc6"},
		{"cnn.layers=fc6,fc7", func(j *Job) any { return strings.Join(j.CNN[0].Layers.Names, "|") }, "fc6|fc7"},
		{"cnn.preprocess=none", func(j *Job) any { return j.CNN[0].Preprocess.Name }, "none"},
		{"cnn.preprocess.resize=300", func(j *Job) any { return j.CNN[0].Preprocess.Inline.Resize }, 300},
		{"cnn.preprocess={resize: 300}", func(j *Job) any { return j.CNN[0].Preprocess.Inline.Resize }, 300},
		{"downstream.tol=1e-3", func(j *Job) any { return j.Downstream.Tol }, 1e-3},
		{"downstream.reg=2", func(j *Job) any { return j.Downstream.Reg }, 2.0},
		{"downstream.grid.reg=0.1,1e-2", func(j *Job) any { return j.Downstream.Grid.Reg[1] }, 0.01},
		{"downstream.grid={reg: [0.5]}", func(j *Job) any { return j.Downstream.Grid.Reg[0] }, 0.5},
		{"limits.memory=512 MiB", func(j *Job) any { return j.Limits.Memory }, Bytes(512 << 20)},
		{"keep.features=true", func(j *Job) any { return j.Keep.Features }, true},
		{"plan.inference=lazy", func(j *Job) any { return j.Plan.Inference }, "lazy"},
		{"output=a=b", func(j *Job) any { return string(j.Output) }, "a=b"},
		{"reuse=", func(j *Job) any { return string(j.Reuse) }, ""},
	} {
		job, err := Load("minimal.yaml", base, []string{c.set})
		if err != nil {
			t.Errorf("--set %s: %v", c.set, err)
			continue
		}
		if got := c.want(job); got != c.val {
			t.Errorf("--set %s gives %v (%T), want %v", c.set, got, got, c.val)
		}
		path, _, _ := strings.Cut(c.set, "=")
		if path == "downstream.grid" {
			path = "downstream.grid.reg"
		}
		path = strings.TrimSuffix(path, ".resize")
		i := slices.IndexFunc(job.Origins(), func(o Origin) bool { return o.Path == path })
		if i < 0 || job.Origins()[i].From != "set" {
			t.Errorf("--set %s: origin is not set", c.set)
		}
	}
}

func TestLaterSetWins(t *testing.T) {
	base, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	job, err := Load("minimal.yaml", base, []string{"plan.cpu=2", "plan={cpu: 3, batch: 4}", "plan.cpu=5"})
	if err != nil {
		t.Fatal(err)
	}
	if job.Plan.CPU != 5 || job.Plan.Batch != 4 {
		t.Errorf("got %+v", job.Plan)
	}
}

func TestDigest(t *testing.T) {
	base, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	digest := func(sets ...string) string {
		j, err := Load("f", base, sets)
		if err != nil {
			t.Fatal(err)
		}
		return j.Digest()
	}
	d := digest()
	for _, same := range []string{"limits.memory=1GiB", "output=elsewhere", "pool=", "downstream.reg=0.01"} {
		if same == "pool=" {
			same = "cnn.pool=max-2x2"
		}
		if digest(same) != d {
			t.Errorf("%s changes the digest", same)
		}
	}
	for _, other := range []string{"seed=2", "downstream.reg=0.02", "cnn.layers=4", "cnn.layers=fc6", "table.features=a", "plan.batch=4", "keep.features=true", "cnn.preprocess={resize: 2}"} {
		if digest(other) == d {
			t.Errorf("%s does not change the digest", other)
		}
	}
}

func TestFileLimit(t *testing.T) {
	_, err := Load("big.yaml", []byte("# "+strings.Repeat("x", maxFile)), nil)
	if err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "plan.inference=lazy")
	}
	f.Add([]byte(Example()), "cnn.layers=[a,b]")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		for _, sets := range [][]string{nil, {set}} {
			job, err := Load("f.yaml", data, sets)
			if err != nil {
				checkError(t, err)
				continue
			}
			job.Digest()
			if len(job.Origins()) < 30 {
				t.Errorf("%d origins", len(job.Origins()))
			}
		}
	})
}
