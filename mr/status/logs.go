package status

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// AttemptLog is what an attempt has logged, so far if it runs.
type AttemptLog struct {
	Attempt mr.AttemptID
	Worker  string // it runs on; "": it has ended
	Runs    bool
	Text    []byte
}

// NoAttemptLog is what is to be said of a task without logs.
const NoAttemptLog = "Nothing is known of this attempt: it has not begun, or its worker was killed and took its log along"

// attemptLog shows the logs of a task's attempts.
func (h *handler) attemptLog(w http.ResponseWriter, r *http.Request) {
	d, ok := h.find(w, r)
	if !ok {
		return
	}
	type shown struct {
		AttemptLog
		Legible string
	}
	data := struct {
		Detail
		Target, Link string
		None         string
		Logs         []shown
	}{Detail: d, Target: r.PathValue("target"), None: NoAttemptLog}
	data.Link = logLink(data.Target)
	all, err := h.o.Source.AttemptLogs(r.Context(), d.ID, data.Target)
	if err != nil {
		code := http.StatusInternalServerError
		if errs.Is(err, errs.Invalid) || errs.Is(err, errs.NotExist) {
			code = http.StatusNotFound
		} else {
			h.o.Log.Warn("an attempt's log cannot be read", zap.String("job", d.ID), zap.String("attempt", data.Target), zap.Error(err))
		}
		var e *errs.Error
		if code == http.StatusNotFound && errors.As(err, &e) {
			h.problem(w, r, code, e.Err.Error())
			return
		}
		h.problem(w, r, code, "The log cannot be read: "+errText(err))
		return
	}
	live := false
	for _, l := range all {
		data.Logs = append(data.Logs, shown{l, legible(string(l.Text))})
		live = live || l.Runs
	}
	h.show(w, r, http.StatusOK, "attempt", clip(data.Target, 100)+" of "+d.ID, live, data)
}

// logLink is the part of a link that names an attempt or a task: names of phases may hold slashes, and anything else.
func logLink(target any) string {
	var s string
	switch t := target.(type) {
	case string:
		s = t
	case mr.PhaseID:
		s = string(t)
	case mr.TaskID:
		s = t.String()
	case mr.AttemptID:
		s = t.String()
	}
	words := strings.Split(s, "/")
	for i := range words {
		words[i] = url.PathEscape(words[i])
	}
	return strings.Join(words, "/")
}
