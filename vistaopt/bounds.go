package vistaopt

import (
	"math"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// records is how many keys the images have, and so how many splits of them there can be.
func (s Stats) records() int64 { return s.keyed(s.Images) }

// splits is how many there are if so many are asked for: package images cuts between records, and makes no empty one.
func (s Stats) splits(asked int) int {
	if s.Images == 0 { // not known
		return asked
	}
	return int(min(int64(asked), s.records()))
}

// most is how many images one task of the CNN's phases of a plan may have, at most.
//
// Splits have as many records as each other, or one more, and a record has PerRecord images at most. Behind a shuffle keys are
// where their hashes say: one task may have all of them.
func (s Stats) most(p plan.Plan) int64 {
	all := s.Images
	if all == 0 { // not known
		return math.MaxInt64
	}
	if s.PerRecord <= 1 && p.Placement == plan.AfterJoin { // of several images of a record, Matched is what they have on average
		all = s.matched()
	}
	if p.Join == plan.Shuffle && p.Placement == plan.AfterJoin {
		return all
	}
	splits := int64(max(s.splits(p.Partitions), 1))
	return min(all, (s.records()+splits-1)/splits*max(s.PerRecord, 1))
}

// bounded is a plan without what was asked for and could not be used: splits without an image, attempts without a task, and places
// of a batch that no task has images for. What runs is what is planned: buffers and slots are as many.
func (s Stats) bounded(p plan.Plan) plan.Plan {
	if p.Join == plan.Broadcast { // the splits of the images are the partitions of all phases
		p.Partitions = s.splits(p.Partitions)
	}
	p.CPU = min(p.CPU, p.Partitions)
	p.Batch = int(min(int64(p.Batch), s.most(p))) // 0 where it is open: batches has those that are tried
	return p
}
