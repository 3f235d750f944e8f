//go:build unix

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
