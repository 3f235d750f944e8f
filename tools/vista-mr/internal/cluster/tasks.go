package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// TaskList is the answer to GET /api/v1/jobs/ID/tasks/PHASE?state=STATE&from=N&limit=N.
type TaskList struct {
	SchemaVersion int               `json:"schemaVersion"`
	Counts        map[string]int    `json:"counts"` // by state
	Tasks         []tracker.TaskNow `json:"tasks"`
}

// maxTasks is how many tasks are told at once, and fewTasks how many if nothing is said.
const maxTasks, fewTasks = 10_000, 1000

func (d *daemon) tasks(w http.ResponseWriter, r *http.Request) {
	id, phase, q := r.PathValue("id"), mr.PhaseID(r.PathValue("phase")), r.URL.Query()
	state, from, limit := q.Get("state"), 0, fewTasks
	var err error
	if state != "" && !slices.Contains(status.TaskStates, state) {
		err = fmt.Errorf("state %q is none of %v", state, status.TaskStates)
	}
	for key, to := range map[string]*int{"from": &from, "limit": &limit} {
		if s := q.Get(key); s != "" && err == nil {
			if *to, err = strconv.Atoi(s); err == nil && *to < 0 {
				err = fmt.Errorf("%s=%s: 0 or more", key, s)
			}
		}
	}
	if err != nil {
		refuse(w, errs.E("tasks", errs.Invalid, id, err))
		return
	}
	out, counts := d.tasksNow(id, phase, state, from, min(limit, maxTasks))
	if counts == nil {
		refuse(w, errs.E("tasks", errs.NotExist, id, errors.New("no such job runs, or it has no such phase; the output's events.jsonl has the attempts of jobs that are over")))
		return
	}
	reply(w, TaskList{1, counts, append([]tracker.TaskNow{}, out...)})
}
