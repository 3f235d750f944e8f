package status

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
)

// metrics is the text format of Prometheus. No label's values grow with what runs.
func (h *handler) metrics(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	metric := func(name, kind, help string, v any) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		if v != nil {
			fmt.Fprintf(&b, "%s %v\n", name, v)
		}
	}
	byState := map[string]int{}
	for _, j := range h.o.Source.Jobs() {
		byState[j.State]++
	}
	metric("vista_mr_jobs", "gauge", "Jobs that the tracker knows, by state.", nil)
	for _, s := range states {
		fmt.Fprintf(&b, "vista_mr_jobs{state=%q} %d\n", s, byState[s])
	}
	var slots, used, draining int
	var memory, held int64
	all := h.o.Source.Workers()
	for _, k := range all {
		slots, used, memory, held = slots+k.Slots, used+k.Used, memory+k.Memory, held+k.Held
		if k.Slots == 0 {
			draining++
		}
	}
	t, totals := h.o.Source.Tracker(), h.o.Source.Totals()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	metric("vista_mr_workers", "gauge", "Workers that are connected.", len(all))
	metric("vista_mr_workers_draining", "gauge", "Workers that take nothing new.", draining)
	metric("vista_mr_slots", "gauge", "Attempts that the workers run at once.", slots)
	metric("vista_mr_slots_used", "gauge", "Slots that hold an attempt.", used)
	metric("vista_mr_worker_memory_bytes", "gauge", "Memory that attempts may hold, over all workers.", memory)
	metric("vista_mr_worker_memory_held_bytes", "gauge", "Memory that running attempts may need.", held)
	metric("vista_mr_attempts_running", "gauge", "Attempts that run.", totals.Running)
	metric("vista_mr_tasks_committed_total", "counter", "Tasks committed since the tracker started.", totals.Committed)
	metric("vista_mr_attempts_failed_total", "counter", "Attempts that failed since the tracker started.", totals.Failed)
	metric("vista_mr_tracker_epoch", "gauge", "The tracker's epoch: it grows with every take-over.", t.Epoch)
	metric("process_start_time_seconds", "gauge", "When the tracker started.", t.Started.Unix())
	metric("go_goroutines", "gauge", "Goroutines.", runtime.NumGoroutine())
	metric("go_memstats_heap_alloc_bytes", "gauge", "Bytes of live and not yet collected objects.", mem.HeapAlloc)
	metric("go_memstats_sys_bytes", "gauge", "Bytes obtained from the system.", mem.Sys)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // whoever asked has gone
}
