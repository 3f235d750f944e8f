package worker

import "github.com/vista-mr/vista-mr/mr/task"

// comes takes a job in. What the process held before is not the job's: its peak begins anew, after those of the jobs that are here have been
// noted. Where it cannot begin anew, before tells apart what is known to be of the job's own time. It is called with w.mu held.
func (w *Worker) comes(j *job) {
	defer func() { w.jobs[j.id] = j }()
	if w.o.Usage == nil {
		return
	}
	now := w.o.Usage()
	w.noted(now)
	if w.o.Anew == nil || !w.o.Anew() {
		j.before = now.Peak
		return
	}
	for _, other := range w.jobs {
		other.before = 0
	}
}

// noted notes what the process holds for all jobs that are here. It is called with w.mu held.
func (w *Worker) noted(now task.Usage) {
	w.most = max(w.most, now.Peak)
	for _, j := range w.jobs {
		j.peak = max(j.peak, now.Resident)
		if now.Peak > j.before {
			j.peak = max(j.peak, now.Peak)
		}
	}
}

// Look notes what the process holds now. It is for who has it looked at often because the system cannot make the peak begin anew: then
// the largest that was seen stands for it.
func (w *Worker) Look() {
	if w.o.Usage == nil {
		return
	}
	w.mu.Lock() // a job that comes meanwhile would be charged with what was before it
	defer w.mu.Unlock()
	w.noted(w.o.Usage())
}
