package compile

import (
	"strings"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/join"
	"github.com/vista-mr/vista-mr/mr"
)

// drops lets go of everything large as soon as its last reader is done: volumes, vectors, images and what went
// through the shuffle with them. Rows stay, because they are small and what a damaged file is made again from.
//
// The files of a shuffle have no channel of their own: they go with all that their phase has written, once
// nobody reads any of it.
func (c *compiler) drops() {
	last, lastOfPhase, shuffled := map[ref]int{}, map[mr.PhaseID]int{}, map[mr.PhaseID]bool{}
	for i, p := range c.phases {
		for _, in := range p.Inputs {
			if in.Mode == mr.Values {
				continue
			}
			last[ref{in.Phase, in.Channel}], lastOfPhase[in.Phase] = i, i
			if in.Mode == mr.Shuffled {
				shuffled[in.Phase] = true
			}
		}
	}
	for i := range c.phases {
		p := &c.phases[i]
		gone := map[ref]bool{}
		for _, in := range p.Inputs {
			r := ref{in.Phase, in.Channel}
			switch {
			case in.Mode == mr.Values || in.Phase == TablePhase:
				continue
			case shuffled[in.Phase] && lastOfPhase[in.Phase] == i:
				r.channel = ""
			case in.Mode == mr.Shuffled || last[r] != i || !large(r.channel):
				continue
			}
			if !gone[r] {
				gone[r] = true
				p.Drop = append(p.Drop, mr.Drop{Phase: r.phase, Channel: r.channel})
			}
		}
	}
}

// large tells channels of vectors, volumes and images from those of rows.
func large(channel string) bool {
	return channel == join.Joined || strings.HasPrefix(channel, extract.Raw("")) || strings.HasPrefix(channel, extract.Pooled(""))
}
