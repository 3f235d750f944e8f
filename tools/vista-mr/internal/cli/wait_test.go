package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestWaitingLongEnough is no defect: the next thing to do is to wait again.
func TestWaitingLongEnough(t *testing.T) {
	tracker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"schemaVersion":1,"job":{"id":"foods-1","state":"running"}}`)
	}))
	defer tracker.Close()
	var stderr bytes.Buffer
	code := Main([]string{"wait", "foods-1", "--tracker", tracker.URL, "--timeout", "50ms"}, process(&stderr))
	if said := stderr.String(); code != int(exit.TimedOut) || !strings.Contains(said, "error  E-TIMEOUT  wait: foods-1 has not ended within 50ms\nnext   wait again: vista-mr wait foods-1\n") {
		t.Errorf("exit code %d\n%s", code, said)
	}
}

// TestHere: "." is a folder, whatever tracker is named.
func TestHere(t *testing.T) {
	t.Chdir(t.TempDir())
	tracker := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the tracker is asked") }))
	defer tracker.Close()
	for _, arg := range []string{".", ".."} {
		for command, want := range map[string]int{"status": int(exit.Invalid), "wait": int(exit.Invalid), "logs": int(exit.Invalid), "kill": int(exit.Usage)} {
			var stderr bytes.Buffer
			if code := Main([]string{command, arg, "--tracker", tracker.URL}, process(&stderr)); code != want {
				t.Errorf("%s %s: exit code %d, want %d\n%s", command, arg, code, want, stderr.String())
			}
		}
	}
}

// TestTimesBelowZero are mistakes and no times.
func TestTimesBelowZero(t *testing.T) {
	for _, args := range [][]string{{"wait", "a-1", "--timeout", "-1s"}, {"worker", "--grace", "-5s"}} {
		var stderr bytes.Buffer
		if code := Main(append(args, "--tracker", "http://127.0.0.1:1"), process(&stderr)); code != int(exit.Usage) || !strings.Contains(stderr.String(), args[len(args)-1]) {
			t.Errorf("%v: exit code %d\n%s", args, code, stderr.String())
		}
	}
}
