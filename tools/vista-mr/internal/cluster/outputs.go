package cluster

import (
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// reserve keeps an output for a job that is being taken in, until free is called. It is refused while another job of this tracker that has not
// ended writes there, or will: in a store the later one would take the output from it.
func (m *jobs) reserve(r *Request) (free func(), err error) {
	if r.Output == "" {
		return func() {}, nil
	}
	place := conf.URI(r.Output).Normal()
	m.mu.Lock()
	defer m.mu.Unlock()
	refuse := func(cause, next string) error {
		return &errs.Error{Op: "submit", Kind: errs.Exist, ID: "E-OUTPUT-BUSY", Path: r.Output, Err: fmt.Errorf("output %s: %s", r.Output, cause), Fix: next}
	}
	for _, b := range m.order {
		if b.State.Over() || conf.URI(b.Output).Normal() != place {
			continue
		}
		next := fmt.Sprintf("wait for it (vista-mr wait %s), kill it (vista-mr kill %[1]s), or choose another output (--set output=...)", b.ID)
		if b.User == r.User && b.sub.same(r) {
			return nil, refuse(fmt.Sprintf("this job is %s already, as %s", b.State, b.ID), next)
		}
		return nil, refuse(fmt.Sprintf("job %s, which is %s, writes to it", b.ID, b.State), next)
	}
	if m.coming[place] {
		return nil, refuse("another job that writes to it has just been submitted", "wait for that one (vista-mr jobs), or choose another output (--set output=...)")
	}
	if m.coming == nil {
		m.coming = map[string]bool{}
	}
	m.coming[place] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.coming, place)
	}, nil
}

// same tells whether a request is for the same job.
func (s *submission) same(r *Request) bool {
	return s.Name == r.Name && s.Text == r.Text && slices.Equal(s.Sets, r.Sets)
}
