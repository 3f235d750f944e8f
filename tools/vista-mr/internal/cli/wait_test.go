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
