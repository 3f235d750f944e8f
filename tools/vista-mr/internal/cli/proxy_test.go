package cli

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
)

// TestDriversAskNoProxy for their tracker, which is on their own machine; all others may need one.
func TestDriversAskNoProxy(t *testing.T) {
	for job, direct := range map[string]bool{"": false, "foods-abcdefgh": true} {
		var stderr bytes.Buffer
		p := process(&stderr)
		p.Env = func(name string) string { return map[string]string{cluster.DriverVariable: job}[name] }
		c, err := (&app{Process: p}).client(&trackerFlags{url: "http://10.1.2.3:7531"})
		if err != nil {
			t.Fatal(err)
		}
		got := false
		if c.HTTP != nil {
			own, ok := c.HTTP.Transport.(*http.Transport)
			got = ok && own.Proxy == nil
		}
		if got != direct {
			t.Errorf("of job %q: no proxy is asked: %v", job, got)
		}
	}
}
