package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

func job(t *testing.T, output string, sets ...string) *conf.Job {
	t.Helper()
	j, err := conf.Load("example.yaml", []byte(conf.Example()), append([]string{"output=" + output}, sets...))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func refused(t *testing.T, err error, id string) {
	t.Helper()
	var e interface{ ErrorID() string }
	if !errors.As(err, &e) || e.ErrorID() != id || exit.Code(err) != 3 {
		t.Errorf("got %v (exit code %d), want %s and 3", err, exit.Code(err), id)
	}
}

func TestClaimOutput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "out")
	c, err := ClaimOutput(t.Context(), job(t, dir))
	if err != nil || c.State != OutputNew {
		t.Fatalf("new folder: %+v, %v", c, err)
	}
	_, err = ClaimOutput(t.Context(), job(t, dir))
	refused(t, err, "E-OUTPUT-BUSY")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	// The next run of the job goes on, with other limits, too; another job does not.
	c, err = ClaimOutput(t.Context(), job(t, dir, "limits.memory=1GiB"))
	if err != nil || c.State != OutputUnfinished {
		t.Fatalf("own unfinished run: %+v, %v", c, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = ClaimOutput(t.Context(), job(t, dir, "seed=1"))
	refused(t, err, "E-OUTPUT")

	if err := os.WriteFile(filepath.Join(dir, SuccessFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = ClaimOutput(t.Context(), job(t, dir))
	refused(t, err, "E-OUTPUT")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder holds %v, %v; want the marker and %s", entries, err, SuccessFile)
	}
}

func TestClaimAfterClaimCutShort(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, MarkerFile+".123"), []byte(`{"sch`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ClaimOutput(t.Context(), job(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestClaimIsExclusive(t *testing.T) {
	for range 50 {
		dir := filepath.Join(t.TempDir(), "out")
		j := job(t, dir)
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				c, err := ClaimOutput(t.Context(), j)
				if err == nil {
					won.Add(1)
					t.Cleanup(func() { _ = c.Close() }) // held until the end, so that nobody else may win
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 8 got the folder", won.Load())
		}
	}
}

func TestClaimUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for out, says := range map[string]string{file: "is not a folder", file + "/out": "cannot be made: " + file + " is a file", file + "/a/b": "cannot be made: " + file + " is a file"} {
		_, err := ClaimOutput(t.Context(), job(t, out))
		refused(t, err, "E-OUTPUT")
		var e *InputError
		if !errors.As(err, &e) || e.Cause != says || !strings.HasPrefix(e.Next, "choose another folder") || strings.Contains(e.Next, "remove") {
			t.Errorf("%s: %v; %+v", out, err, e)
		}
	}
}

// Each line of the table of limitations refuses something, and says what can be had instead.
func TestSupported(t *testing.T) {
	if err := Supported(job(t, "out")); err != nil {
		t.Fatalf("the example: %v", err)
	}
	refusals := []string{"cnn.precision=auto", "reuse=store"}
	for _, set := range refusals {
		err := Supported(job(t, "out", set))
		refused(t, err, "E-UNSUPPORTED")
		if key, value, _ := strings.Cut(set, "="); err != nil && (!strings.Contains(err.Error(), key+": ") || !strings.ContainsAny(value, "{[") && !strings.Contains(err.Error(), value)) {
			t.Errorf("%s: the message names neither key nor value: %v", set, err)
		}
	}
	used := map[int]bool{}
	for _, set := range refusals {
		j := job(t, "out", set)
		for i, l := range limitations {
			if _, v := l.found(j); v != "" {
				used[i] = true
			}
		}
	}
	if len(used) != len(limitations) {
		t.Errorf("%d of %d limitations are tested", len(used), len(limitations))
	}
}

func TestDecoderIsCheckedBeforeAnythingRuns(t *testing.T) {
	for name, want := range map[string]string{"": "go", "go": "go", "foo": ""} {
		t.Setenv(decoderVariable, name)
		got, err := checkDecoder(t.Context(), nil, nil, nil)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	t.Setenv(decoderVariable, "turbo")
	_, err := checkDecoder(t.Context(), nil, nil, nil)
	if _, ok := image.TurboAvailable(); (err == nil) != ok {
		t.Errorf("turbo: %v; it can be loaded: %v", err, ok)
	}
}
