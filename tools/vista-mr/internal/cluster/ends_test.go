package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/wire"
)

// TestAJobThatIsOverRunsNothing: drivers that were killed have told nobody that what they had run is to end, and what they have asked for may
// come after them.
func TestAJobThatIsOverRunsNothing(t *testing.T) {
	for how, c := range map[string]struct {
		kill bool
		want State
	}{"its drivers die": {false, Failed}, "it is killed, and its driver does not hear": {true, Killed}} {
		t.Run(how, func(t *testing.T) {
			_, d := serveTracker(t, "")
			store := mem.New()
			d.runs = &wire.Runs{Tracker: d.tracker, Open: func(context.Context, string) (dfs.FS, error) { return store, nil }, Began: d.began, Observe: d.jobs.observe}
			defer d.runs.Close()
			defer d.tracker.Close()
			runs := httptest.NewServer(d.runs)
			defer runs.Close()
			spec := mr.JobSpec{ID: "run", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}
			body, err := json.Marshal(&spec)
			if err != nil {
				t.Fatal(err)
			}
			d.jobs.most = 1
			d.jobs.start = func(ctx context.Context, s *submission, _ func(driverLine)) (ending, error) {
				// A process that is killed closes its connections, and says nothing.
				post, die := context.WithCancel(context.Background())
				defer die()
				r, err := http.NewRequestWithContext(post, http.MethodPost, runs.URL+wire.RunPath, bytes.NewReader(body))
				if err != nil {
					return ending{}, err
				}
				r.Header.Set("Vista-Mr-Job", s.ID)
				resp, err := runs.Client().Do(r)
				if err != nil {
					return ending{}, err
				}
				defer resp.Body.Close()
				if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil { // it runs
					return ending{}, err
				}
				if c.kill {
					<-ctx.Done()
				}
				return ending{code: -1}, errors.New("signal: killed")
			}
			j, err := d.jobs.submit(t.Context(), Request{Name: "a", Text: "x"})
			if err != nil {
				t.Fatal(err)
			}
			defer d.jobs.work.Wait()
			if c.kill {
				for len(d.tracker.Jobs("run")) == 0 {
					time.Sleep(time.Millisecond)
				}
				if _, err := d.jobs.end(j.ID, "on request"); err != nil {
					t.Fatal(err)
				}
			}
			wait(t, d.jobs, j.ID, c.want)
			for end := time.Now().Add(5 * time.Second); len(d.tracker.Jobs("run")) > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("what its drivers have begun goes on")
				}
			}
			if err := d.began(j.ID, &mr.JobSpec{ID: "late"}); !errs.Is(err, errs.Canceled) {
				t.Errorf("what comes later is begun: %v", err)
			}
		})
	}
}
