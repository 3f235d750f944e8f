package sched

import (
	"slices"

	"github.com/vista-mr/vista-mr/mr"
)

// A coordinator that takes over knows which jobs will be submitted before it knows what they are. What workers still run of such a job
// goes on, and its room is nobody else's until the job has come: only then is it taken back or cancelled.

// guest is an attempt of an expected job.
type guest struct {
	Progress
	seen Tick // named by its worker
}

func (g *guest) is(pr Progress) bool {
	return g.Job == pr.Job && g.Attempt == pr.Attempt && g.Epoch == pr.Epoch
}

func (s *State) expectJob(id mr.JobID) {
	if s.jobByID[id] != nil {
		return
	}
	if s.expected == nil {
		s.expected = map[mr.JobID]bool{}
	}
	s.expected[id] = true
}

// reserve keeps the room of an attempt of an expected job. More than there is may be named: who has ended and was not heard of is, too.
func (s *State) reserve(w *worker, pr Progress) {
	if s.o.rules.forgetExpected {
		return
	}
	if k := slices.IndexFunc(w.guests, func(g guest) bool { return g.is(pr) }); k >= 0 {
		s.letGuest(w, w.guests[k])
		w.guests = slices.Delete(w.guests, k, k+1)
	}
	w.guests = append(w.guests, guest{pr, s.now})
	s.guests++
	if !pr.Pinned {
		s.occupy(w, 1)
	}
	w.held += pr.Memory
}

// letGuest gives back the room of a guest, which the caller takes off its worker.
func (s *State) letGuest(w *worker, g guest) {
	s.guests--
	if !g.Pinned {
		s.occupy(w, -1)
	}
	w.held -= g.Memory
}

// letGuests gives back the room of those guests of a worker that a function chooses, and returns them.
func (s *State) letGuests(w *worker, which func(guest) bool) (out []Progress) {
	if len(w.guests) == 0 {
		return nil
	}
	w.guests = slices.DeleteFunc(w.guests, func(g guest) bool {
		if !which(g) {
			return false
		}
		s.letGuest(w, g)
		out = append(out, g.Progress)
		return true
	})
	return out
}

// arrived is called when an expected job has come, or will not. What workers run of it is as if they named it now: nobody else has had its
// room meanwhile.
func (s *State) arrived(id mr.JobID) {
	if !s.expected[id] {
		return
	}
	delete(s.expected, id)
	j := s.jobByID[id]
	for _, w := range s.workers {
		if _, here := w.awaited[id]; here && j != nil {
			w.jobs[j] = struct{}{}
		}
		delete(w.awaited, id)
		for _, pr := range s.letGuests(w, func(g guest) bool { return g.Job == id }) {
			s.named(w, pr)
		}
	}
}

// holds notes of which jobs a worker has something, as it has said on a new connection.
func (s *State) holds(w *worker, all []Holding) {
	clear(w.awaited)
	for _, h := range all {
		switch j := s.jobByID[h.Job]; {
		case j != nil:
			w.jobs[j] = struct{}{}
		case s.expected[h.Job] && !s.o.rules.forgetExpected:
			if w.awaited == nil {
				w.awaited = map[mr.JobID]int64{}
			}
			w.awaited[h.Job] = h.Memory
		}
	}
}
