//go:build unix

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// What a driver leaves in its folder for temporary files goes with it, however it ends, and a Kerberos ticket is still looked for
// where the tracker's user has it.
func TestDriversLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KRB5CCNAME", "")
	seen := filepath.Join(dir, "seen")
	for name, ends := range map[string]string{"killed": "kill -KILL $$", "well": `echo '{"verdict":{"sentence":"it helps"}}'`} {
		program := filepath.Join(dir, name)
		script := fmt.Sprintf("#!/bin/sh\ntouch \"$TMPDIR/left\" && echo \"$TMPDIR $KRB5CCNAME $VISTA_MR_DRIVER $VISTA_MR_DRIVER_AGAIN\" >%s\n%s\n", seen, ends)
		if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		d := &drivers{program: program, scratch: filepath.Join(dir, "scratch")}
		end, err := d.start(t.Context(), &submission{ID: "job-" + name, again: name == "well"}, func(driverLine) {})
		if killed := name == "killed"; (err != nil) != killed || !killed && end.verdict != "it helps" {
			t.Errorf("%s: %+v, %v", name, end, err)
		}
		b, err := os.ReadFile(seen)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(string(b))
		want := fmt.Sprintf("FILE:%s job-%s", filepath.Join(os.TempDir(), fmt.Sprintf("krb5cc_%d", os.Getuid())), name)
		if name == "well" {
			want += " yes"
		}
		if len(got) < 3 || strings.Join(got[1:], " ") != want {
			t.Fatalf("%s: the driver has seen %q, want %q", name, got, want)
		}
		if _, err := os.Stat(got[0]); !os.IsNotExist(err) || !strings.HasPrefix(got[0], d.scratch) {
			t.Errorf("%s: %s: %v", name, got[0], err)
		}
	}
}

// A job whose driver ended well has ended well, also if what the driver has left cannot be removed.
func TestDriverThatCannotBeTidiedUp(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	script := `#!/bin/sh
d=$(dirname "$TMPDIR") && mv "$d" "$d.away" && touch "$d" && echo '{"verdict":{"sentence":"it helps"}}'
`
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	said, logs := observer.New(zap.WarnLevel)
	d := &drivers{program: program, scratch: filepath.Join(dir, "scratch"), log: zap.New(said)}
	end, err := d.start(t.Context(), &submission{ID: "job"}, func(driverLine) {})
	if err != nil || end.verdict != "it helps" {
		t.Errorf("%+v, %v", end, err)
	}
	if logs.Len() != 1 {
		t.Errorf("the tracker's log: %v", logs.All())
	}
}
