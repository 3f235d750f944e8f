package machine

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestUlimitIsSeen by a process that runs under it.
func TestUlimitIsSeen(t *testing.T) {
	if os.Getenv("VISTA_MR_TEST_ULIMIT") != "" {
		n, of := Least()
		fmt.Printf("least %d %s\n", n>>20, of)
		return
	}
	for name, c := range map[string]string{"data": "ulimit -d 1500000", "address space": "ulimit -v 3500000"} {
		cmd := exec.Command("sh", "-c", c+` && exec "$0" -test.run '^TestUlimitIsSeen$'`, os.Args[0])
		cmd.Env = append(os.Environ(), "VISTA_MR_TEST_ULIMIT=1", "GOMAXPROCS=2")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c+"\n") || strings.Contains(string(out), "least 0 ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
