package status

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// tasksShown is what a page of tasks shows at most.
const tasksShown = 200

// TaskStates are a task's states in the order in which they are offered.
var TaskStates = []string{"running", "waiting", "committed"}

// tasks lists the tasks of a phase.
func (h *handler) tasks(w http.ResponseWriter, r *http.Request) {
	d, ok := h.find(w, r)
	if !ok {
		return
	}
	phase, state := mr.PhaseID(r.PathValue("phase")), r.URL.Query().Get("state")
	if !slices.Contains(TaskStates, state) {
		state = ""
	}
	at := slices.IndexFunc(d.Phases, func(p Phase) bool { return p.ID == phase })
	if at < 0 {
		h.problem(w, r, http.StatusNotFound, "The job has no phase "+strconv.Quote(clip(string(phase), 100))+", or it has not begun.")
		return
	}
	data := struct {
		Detail
		Phase  Phase
		States []stateCount
		State  string
		Tasks  []tracker.TaskNow
		Lives  bool
		Window window
	}{Detail: d, Phase: d.Phases[at], State: state}
	link := func(pairs ...string) string { return query(pairs...)[len("./"):] }
	_, counts := h.o.Source.Tasks(d.ID, phase, "", 0, 0)
	if counts != nil {
		data.Lives = true
		sum := 0
		for _, s := range TaskStates {
			sum += counts[s]
		}
		data.States = []stateCount{{"all", sum, link(), state == ""}}
		for _, s := range TaskStates {
			data.States = append(data.States, stateCount{s, counts[s], link("state", s), s == state})
		}
		of := sum
		if state != "" {
			of = counts[state]
		}
		data.Window = slice(number(r, "page"), tasksShown, of, func(n int) string { return link("state", state, "page", strconv.Itoa(n)) })
		data.Tasks, _ = h.o.Source.Tasks(d.ID, phase, state, max(0, data.Window.From-1), tasksShown)
	}
	h.show(w, r, http.StatusOK, "tasks", string(phase)+" of "+d.ID, data.Lives, data)
}
