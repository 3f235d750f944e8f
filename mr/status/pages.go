package status

import (
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// What one page shows at most.
const (
	jobsShown     = 100
	workersShown  = 200
	attemptsShown = 200
	phasesShown   = 200
	logShown      = 256 << 10
)

// states are a job's states in the order in which they are offered.
var states = []string{"running", "queued", "succeeded", "failed", "killed"}

// window is what is shown of a list.
type window struct {
	From, To, Of int // 1-based; 0, 0: nothing
	Page, Pages  int
	Prev, Next   string // links; "": none
}

// slice is page n of so many entries.
func slice(n, size, of int, link func(page int) string) window {
	pages := max(1, (of+size-1)/size)
	n = min(max(1, n), pages)
	w := window{From: (n-1)*size + 1, To: min(of, n*size), Of: of, Page: n, Pages: pages}
	if of == 0 {
		w.From = 0
	}
	if n > 1 {
		w.Prev = link(n - 1)
	}
	if n < pages {
		w.Next = link(n + 1)
	}
	return w
}

// number is a number of the query, at least 1.
func number(r *http.Request, key string) int {
	n, err := strconv.Atoi(r.URL.Query().Get(key))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

func query(pairs ...string) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" && pairs[i+1] != "1" {
			out = append(out, pairs[i]+"="+pairs[i+1])
		}
	}
	return "./?" + strings.Join(out, "&")
}

type stateCount struct {
	State string
	Count int
	Link  string
	Here  bool
}

func (h *handler) jobs(w http.ResponseWriter, r *http.Request) {
	all := h.o.Source.Jobs()
	state := r.URL.Query().Get("state")
	if !slices.Contains(states, state) {
		state = ""
	}
	counts := map[string]int{}
	for i := range all {
		counts[all[i].State]++
	}
	data := struct {
		States []stateCount
		State  string
		Jobs   []Job
		Window window
	}{State: state, States: []stateCount{{"all", len(all), query(), state == ""}}}
	for _, s := range states {
		data.States = append(data.States, stateCount{s, counts[s], query("state", s), s == state})
	}
	if state != "" {
		all = slices.DeleteFunc(slices.Clone(all), func(j Job) bool { return j.State != state })
	}
	data.Window = slice(number(r, "page"), jobsShown, len(all), func(n int) string { return query("state", state, "page", strconv.Itoa(n)) })
	if len(all) > 0 {
		data.Jobs = all[data.Window.From-1 : data.Window.To]
	}
	h.show(w, r, http.StatusOK, "jobs", "Jobs", true, data)
}

// over tells whether nothing more will happen to a job.
func over(state string) bool { return state == "succeeded" || state == "failed" || state == "killed" }

func (h *handler) find(w http.ResponseWriter, r *http.Request) (Detail, bool) {
	d, ok := h.o.Source.Job(r.PathValue("id"))
	if !ok {
		h.problem(w, r, http.StatusNotFound, "The tracker knows no job "+strconv.Quote(clip(r.PathValue("id"), 100))+".")
	}
	return d, ok
}

func (h *handler) job(w http.ResponseWriter, r *http.Request) {
	d, ok := h.find(w, r)
	if !ok {
		return
	}
	all := struct {
		Detail
		PhasesOf, RunningOf int
		Pinned              int // running attempts that hold a partition; they are not listed
		MayKill             bool
	}{Detail: d, MayKill: h.o.MayChange && !over(d.State) && !d.Ending}
	all.Running = slices.DeleteFunc(slices.Clone(d.Running), func(a tracker.AttemptNow) bool { return a.Pinned })
	all.Pinned = len(d.Running) - len(all.Running)
	slices.SortStableFunc(all.Running, func(a, b tracker.AttemptNow) int { // the slowest first
		switch {
		case a.Seconds > b.Seconds:
			return -1
		case a.Seconds < b.Seconds:
			return 1
		}
		return 0
	})
	all.PhasesOf, all.RunningOf = len(d.Phases), len(all.Running)
	if len(all.Phases) > phasesShown {
		all.Phases = all.Phases[len(all.Phases)-phasesShown:]
	}
	all.Running = all.Running[:min(len(all.Running), attemptsShown)]
	all.Failed = all.Failed[:min(len(all.Failed), KeptFailures)]
	h.show(w, r, http.StatusOK, "job", d.ID, !over(d.State), all)
}

func (h *handler) log(w http.ResponseWriter, r *http.Request) {
	d, ok := h.find(w, r)
	if !ok {
		return
	}
	data := struct {
		Detail
		Text        string
		Shown, Size int64
	}{Detail: d}
	f, err := h.o.Source.Log(d.ID)
	if err == nil && f != nil {
		defer f.Close() // reading only
		data.Text, data.Size, err = tail(f, logShown)
		data.Shown = int64(len(data.Text))
	}
	if err != nil {
		h.o.Log.Warn("a job's log cannot be read", zap.String("job", d.ID), zap.Error(err))
		h.problem(w, r, http.StatusInternalServerError, "The log cannot be read: "+errText(err))
		return
	}
	data.Text = legible(data.Text)
	h.show(w, r, http.StatusOK, "log", "Log of "+d.ID, !over(d.State), data)
}

// errText is an error without the paths of the tracker's machine.
func errText(err error) string {
	var e *errs.Error
	if errors.As(err, &e) {
		return e.Kind.String()
	}
	return "the tracker's own log says why"
}

// legible makes control characters visible, so that a log cannot hide what it says.
func legible(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return c
		case c == '\r':
			return -1
		case c < 0x20:
			return 0x2400 + c
		case unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c):
			return '\uFFFD'
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// exclusion is a worker that a job avoids.
type exclusion struct {
	Worker string
	tracker.ExcludedNow
}

func (h *handler) workers(w http.ResponseWriter, r *http.Request) {
	all := h.o.Source.Workers()
	data := struct {
		Workers                      []tracker.WorkerNow
		Window                       window
		Slots, Used, Draining, Count int
		Memory, Held                 int64
		Excluded                     []exclusion
	}{Count: len(all)}
	for _, k := range all {
		data.Slots += k.Slots
		data.Used += k.Used
		data.Memory += k.Memory
		data.Held += k.Held
		if k.Slots == 0 {
			data.Draining++
		}
		for _, x := range k.Excluded {
			if len(data.Excluded) < workersShown {
				data.Excluded = append(data.Excluded, exclusion{string(k.ID), x})
			}
		}
	}
	data.Window = slice(number(r, "page"), workersShown, len(all), func(n int) string { return "workers?page=" + strconv.Itoa(n) })
	if len(all) > 0 {
		data.Workers = all[data.Window.From-1 : data.Window.To]
	}
	h.show(w, r, http.StatusOK, "workers", "Workers", true, data)
}

// functions are what the templates can say.
var functions = template.FuncMap{
	"count":   count,
	"size":    size,
	"took":    func(j Job, now time.Time) string { return took(j.Started, j.Ended, now) },
	"between": took,
	"seconds": func(s float64) string { return duration(time.Duration(s * float64(time.Second))) },
	"ago":     func(t, now time.Time) string { return duration(max(0, now.Sub(t))) + " ago" },
	"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"moment":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"over":    over,
	"stage":   current,
	"share":   share,
	"part":    part,
	"masked":  masked,
	"loglink": logLink,
	"whole":   func(f float64) string { return count(int64(math.Round(f))) },
	"bytes":   func(f float64) string { return size(int64(math.Round(f))) },
	"short":   func(s string) string { return clip(s, 300) },
}

// count prints a number with its thousands apart.
func count(n any) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size prints bytes, as package bytesize does for the command line: the engine imports nothing beside itself.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), "KMGTPE"
	i := -1
	for (f >= 1024 || i >= 0 && f >= 1023.5) && i < len(units)-1 {
		f /= 1024
		i++
	}
	return strconv.FormatFloat(f, 'f', decimals(f), 64) + " " + units[i:i+1] + "iB"
}

func decimals(f float64) int {
	if f < 9.95 { // above, one digit more would make it 10.0
		return 1
	}
	return 0
}

func took(from, to, now time.Time) string {
	switch {
	case from.IsZero():
		return "–"
	case to.IsZero():
		to = now
	}
	return duration(max(0, to.Sub(from)))
}

// duration prints about two figures of a duration.
func duration(d time.Duration) string {
	switch s := d.Seconds(); {
	case s == 0:
		return "0 s"
	case s < 0.00005:
		return "< 0.1 ms"
	case s < 0.0995:
		return strconv.FormatFloat(s*1000, 'f', decimals(s*1000), 64) + " ms"
	case s < 9.95:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	case s < 59.5:
		return strconv.FormatFloat(s, 'f', 0, 64) + " s"
	}
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h >= 48:
		return fmt.Sprintf("%d d %d h", h/24, h%24)
	case h > 0:
		return fmt.Sprintf("%d h %02d min", h, m)
	}
	return fmt.Sprintf("%d min %02d s", m, s)
}

// current is the stage that a job is in, or nil.
func current(j Job) *Stage {
	for i := len(j.Stages) - 1; i >= 0; i-- {
		if !j.Stages[i].End {
			return &j.Stages[i]
		}
	}
	return nil
}

// part is n of all in hundredths, for the width of a bar.
func part(n, of any) float64 {
	a, b := float(n), float(of)
	if b <= 0 {
		return 0
	}
	return math.Round(1000*min(1, max(0, a/b))) / 10
}

func float(n any) float64 {
	switch n := n.(type) {
	case int:
		return float64(n)
	case int64:
		return float64(n)
	}
	return 0
}

// share is the same for people: nothing begun is 0, and only all of it 100.
func share(n, of int64) string {
	if of <= 0 {
		return ""
	}
	p := int(100 * min(n, of) / of)
	return strconv.Itoa(p) + " %"
}

var userInfo = regexp.MustCompile(`(://)[^/@\s'"]+@`)

// masked hides what may be a password in a URI.
func masked(s string) string { return userInfo.ReplaceAllString(s, "$1…@") }
