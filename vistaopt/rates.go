package vistaopt

// Rates is how fast a core, a store and the engine are. Seconds are of the clock, bytes are plain bytes.
type Rates struct {
	// A call of the CNN takes its multiply-accumulates at MACs a second and, once for all images of a batch, its weights
	// at Weights bytes a second: fully connected layers are bound by memory, and convolutions by arithmetic.
	MACs, Weights float64
	// Ready is how many bytes of weights are made ready for the first call in a second, Prepare how many in a second before that
	// where it is the first time on this machine.
	Ready, Prepare float64
	// Decode is how many bytes of an image file are read, decoded and cropped in a second by a core.
	Decode float64
	// Parse is how many bytes of encoded table rows are read and written in a second by a core.
	Parse float64
	// Read and Write are the store's bytes a second for each worker, Copy what a core encodes or decodes of them raw,
	// Pack and Unpack with Snappy.
	Read, Write, Copy, Pack, Unpack float64
	// Ratio is what Snappy leaves of a byte of features or volumes.
	Ratio float64
	// Sort is how many bytes of records a core takes through sort, spill and merge in a second.
	Sort float64
	// Load is how many bytes of weights a job reads and digests, and of programs it writes, in a second before its first phase;
	// Save how many of the winner's pipeline it writes in a second at its end.
	Load, Save float64
	// Sum is what a round takes for each weight in training and partition, in seconds.
	Sum float64
	// Train is how many multiply-accumulates of training a core does in a second.
	Train float64
	// Overheads in seconds: of a task, of a file that it writes, of a phase (its start, its end, its publication), of a
	// training round, of training beside its rounds (partitions are opened, models made), and of a job.
	Task, File, Phase, Round, Fit, Job float64
	// Source says in words where MACs, Weights and Decode come from.
	Source   string
	Measured bool // MACs and Weights were measured with the network at hand
}

// DefaultRates are those of one core of the machine that docs/optimizer.md describes. Of an unknown machine all but the
// proportions are guesses, and the proportions decide between plans.
//
// They were fitted to phases (results.json, plan.phases) of jobs over the set foods: Sum, Train, Load, Job, Save, Phase and Fit on a
// quiet machine, the others to processor time, divided by what the CNN's phases took beyond their share of MACs, because the machine
// was busy (1.3):
//
//   - Pack, Unpack and Copy: staged and eager plans of ResNet50 with 5 layers over 60 records, whose phases stage-conv5_2 and
//     pool-conv4_6 are little else, with Snappy and raw. Encoding, checksums and the writes of the system are in them.
//   - Sum and Train: training of 4 layers of AlexNet over 60, 200 and 600 records took 0.12, 0.17 and 0.23 s, of 5 layers of
//     ResNet50 over 30, 60 and 150 records 0.19, 0.25 and 0.42 s (medians of 700 fused plans of two grids, docs/optimizer.md).
//   - Task and File: the fused plans of the same jobs, and pool-fc8, whose tasks write one small file.
//   - Load and Job: what came before the first phase of 49 fused plans of all three networks over 12 to 90 records.
//   - Save, Phase and Fit: what came after the last phase of the 700, what their shortest phases took, and training beyond its
//     rounds.
//   - Ready: stage-fc6 and stage-fc7 of AlexNet, whose prepared weights come from the cache.
//   - Prepare: first starts of the three networks, which took 0.6, 1.4 and 5.0 s more than later ones (docs/runtime.md).
func DefaultRates() Rates {
	return Rates{
		MACs: 54e9, Weights: 17.8e9, Ready: 700e6, Prepare: 140e6,
		Decode: 24e6, Parse: 40e6,
		Read: 1.5e9, Write: 700e6, Copy: 900e6, Pack: 160e6, Unpack: 600e6, Ratio: 0.8,
		Sort: 40e6, Train: 2.1e9, Sum: 62e-9,
		Load: 3.6e9, Save: 800e6,
		Task: 0.002, File: 0.0015, Phase: 0.01, Round: 0.002, Fit: 0.03, Job: 0.2,
		Source: "the network by its multiply-accumulates, at the rate of a core of 2024: it was not measured on this machine",
	}
}

// or returns the rates, or the defaults if there are none.
func (r Rates) or() Rates {
	if r.MACs == 0 {
		return DefaultRates()
	}
	return r
}
