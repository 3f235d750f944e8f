package mr

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// PhaseType says how a phase's tasks are made and fed.
type PhaseType string

// The three types of phase.
const (
	MapPhase    PhaseType = "map"
	ReducePhase PhaseType = "reduce"
	RoundsPhase PhaseType = "rounds"
)

// JobSpec is a whole job as data: phases in an order in which each comes after those that
// it reads.
type JobSpec struct {
	ID          JobID       `json:"id"`
	Name        string      `json:"name"`
	Phases      []PhaseSpec `json:"phases"`
	Budgets     []Budget    `json:"budgets,omitempty"`
	MaxAttempts int         `json:"maxAttempts,omitempty"` // failures of a task's own making before the job fails; 0 means 4
	// User and Priority decide whose tasks come first where jobs share workers: a higher priority before a lower one, then the user
	// who has the least for its weight.
	User     string `json:"user,omitempty"`
	Priority int    `json:"priority,omitempty"`
	// Store is the URI of the file system of the job's folder; empty: the process that runs the job knows.
	Store    string   `json:"store,omitempty"`
	Settings Settings `json:"settings,omitzero"`
}

// Settings are what a job's attempts need of the processes that they run in; 0 is no limit.
type Settings struct {
	SortMemory int64 `json:"sortMemory,omitempty"` // bytes of the sort buffer of a map task and of the merge buffers of a reduce task
	Cache      int64 `json:"cache,omitempty"`      // bytes of pinned partitions kept in memory; what is more goes to the local disk
	Slots      int   `json:"slots,omitempty"`      // attempts of the job at once in one process
	Memory     int64 `json:"memory,omitempty"`     // bytes that the job may take in one process, all attempts and what they share
	Native     int64 `json:"native,omitempty"`     // of these, bytes that native code may allocate
}

// Budget bounds a counter by a share of another one: the job fails with errs.Budget once the
// committed sum of Counter exceeds Fraction times the sum of Of. It is not judged before
// phase Of.Phase is published, because until then the base is not known. A Fraction of 1 or more
// allows any number: of things that do not belong to the base there may be more than all of it.
type Budget struct {
	Counter  string  `json:"counter"`
	Of       string  `json:"of"`
	Phase    PhaseID `json:"phase"`
	Fraction float64 `json:"fraction"`
}

// PhaseSpec is one phase. The number of tasks is len(Splits) for a phase over outside input
// and Tasks otherwise.
type PhaseSpec struct {
	ID         PhaseID         `json:"id"`
	Type       PhaseType       `json:"type"`
	Kind       string          `json:"kind"`                 // what runs: a name in the Registry
	Params     json.RawMessage `json:"params,omitempty"`     // its parameters
	Splits     []Split         `json:"splits,omitempty"`     // outside input, one task each
	Inputs     []Input         `json:"inputs,omitempty"`     // outputs of earlier phases
	After      []PhaseID       `json:"after,omitempty"`      // phases that must be published first although nothing of theirs is read
	Tasks      int             `json:"tasks,omitempty"`      // number of tasks when there are no Splits
	Partitions int             `json:"partitions,omitempty"` // map phases that feed a reduce: number of shuffle partitions
	Memory     int64           `json:"memory,omitempty"`     // bytes that one task may hold beyond what its process shares
	Heap       int64           `json:"heap,omitempty"`       // bytes that the job may have on the heap of a process that runs the phase; 0: no limit
	Timeout    int64           `json:"timeout,omitempty"`    // milliseconds without a sign of work after which an attempt is given up; 0: whoever runs it knows, less: it never is
	Drop       []Drop          `json:"drop,omitempty"`       // files of earlier phases that nobody needs once this one is published
	KeepOpen   []string        `json:"keepOpen,omitempty"`   // shared resources with such a key prefix stay open when the phase ends; other idle ones are closed
}

// NumTasks is the number of tasks of the phase.
func (p *PhaseSpec) NumTasks() int {
	if len(p.Splits) > 0 {
		return len(p.Splits)
	}
	return p.Tasks
}

// Drop names files of an earlier phase: those of one channel, or all when it is empty.
type Drop struct {
	Phase   PhaseID `json:"phase"`
	Channel string  `json:"channel,omitempty"`
}

// Mode says which of an earlier phase's files a task reads.
type Mode string

// The modes of an Input.
const (
	// Same: task i reads what task i of the earlier phase wrote, in its order.
	Same Mode = "same"
	// All: every task reads everything, in task order (a broadcast).
	All Mode = "all"
	// Shuffled: task i reads partition i of every task, merged by key. Reduce phases only.
	Shuffled Mode = "shuffled"
	// Values: every task gets the small results of all tasks, and no files.
	Values Mode = "values"
)

// Input names the output of an earlier phase.
type Input struct {
	Name    string  `json:"name"` // what the task calls it
	Phase   PhaseID `json:"phase"`
	Channel string  `json:"channel,omitempty"` // empty for Shuffled
	Mode    Mode    `json:"mode"`
}

// Split is one task's share of outside input. What the ranges mean is up to the kind that
// reads them. Bytes and Records are estimates for balance and display.
type Split struct {
	Files   []FileRange `json:"files"`
	Bytes   int64       `json:"bytes,omitempty"`
	Records int64       `json:"records,omitempty"`
	Hosts   []string    `json:"hosts,omitempty"` // where it is near; a hint
}

// FileRange is a range of one file. Length 0 means to the end.
type FileRange struct {
	URI    string `json:"uri"`
	Offset int64  `json:"offset,omitempty"`
	Length int64  `json:"length,omitempty"`
}

// TaskSpec is everything that an attempt needs to run: the data that goes in.
type TaskSpec struct {
	Job        JobID           `json:"job"`
	Attempt    AttemptID       `json:"attempt"`
	Epoch      int64           `json:"epoch"` // of the coordinator that launched it
	Type       PhaseType       `json:"type"`
	Kind       string          `json:"kind"`
	Params     json.RawMessage `json:"params,omitempty"`
	Out        dfs.Path        `json:"out"` // folder of this attempt's files in the job's store; no other attempt uses it
	Split      *Split          `json:"split,omitempty"`
	Inputs     []TaskInput     `json:"inputs,omitempty"`
	Tasks      int             `json:"tasks"`
	Partitions int             `json:"partitions,omitempty"`
	Memory     int64           `json:"memory,omitempty"`
	Heap       int64           `json:"heap,omitempty"`     // PhaseSpec.Heap
	Halvings   int             `json:"halvings,omitempty"` // how often earlier attempts ran out of memory: batches are divided by 2 to this power
	Judged     []string        `json:"judged,omitempty"`   // counters that the job's budgets are about: they are never cut off
	Store      string          `json:"store,omitempty"`    // JobSpec.Store
	Settings   Settings        `json:"settings,omitzero"`  // JobSpec.Settings
}

// TaskInput is an Input with the files that this task reads, from the producers' manifests.
type TaskInput struct {
	Input
	Files  []PartFile        `json:"files,omitempty"`
	Values []json.RawMessage `json:"values,omitempty"` // for mode Values: Manifest.Value by task
}

// PartFile is one committed file: enough to read it and to notice damage.
type PartFile struct {
	Channel  string    `json:"channel,omitempty"`
	Task     int       `json:"task"` // index of the task that wrote it
	Path     dfs.Path  `json:"path"`
	Rows     int64     `json:"rows"`
	Bytes    int64     `json:"bytes"`
	CRC      uint32    `json:"crc32c"`
	Segments []Segment `json:"segments,omitempty"` // shuffle output: one sorted segment for each non-empty partition
}

// Segment is the part of a shuffle file that belongs to one partition. The CRC is CRC32C of
// its bytes in the file.
type Segment struct {
	Partition int    `json:"p"`
	Offset    int64  `json:"o"`
	Bytes     int64  `json:"b"`
	RawBytes  int64  `json:"w"`
	Records   int64  `json:"r"`
	CRC       uint32 `json:"c"`
	Block     int64  `json:"k,omitempty"` // largest block, unpacked: what reading it takes
}

// Manifest is what a successful attempt leaves: the data that comes out. Nothing that is not
// named by a committed manifest exists for readers.
type Manifest struct {
	Attempt  AttemptID        `json:"attempt"`
	Epoch    int64            `json:"epoch"` // TaskSpec.Epoch: with the attempt it names the files' folder
	Files    []PartFile       `json:"files,omitempty"`
	Counters map[string]int64 `json:"counters,omitempty"`
	Value    json.RawMessage  `json:"value,omitempty"` // a small result, for instance the classes of a table
	Bad      []BadRecord      `json:"bad,omitempty"`   // the first few records set aside, for messages; all of them are in channel Quarantine
	Seconds  float64          `json:"seconds"`
}

// Wrote is how many records and bytes the attempt has written.
func (m *Manifest) Wrote() (rows, bytes int64) {
	for _, f := range m.Files {
		rows, bytes = rows+f.Rows, bytes+f.Bytes
	}
	return rows, bytes
}

// PhaseManifest is what a published phase consists of: one committed manifest for each task,
// in task order. A phase whose files proved to be damaged is published again, with the next
// revision; readers follow the highest one of the highest epoch.
type PhaseManifest struct {
	Job      JobID      `json:"job"`
	Phase    PhaseID    `json:"phase"`
	Epoch    int64      `json:"epoch"`
	Revision int        `json:"revision,omitempty"`
	Tasks    []Manifest `json:"tasks"`
}

// Quarantine is the channel to which records that were set aside go.
const Quarantine = "quarantine"

// BadRecord is one record that was set aside: by which key, in which stage, and why.
type BadRecord struct {
	Key   string `json:"key"`
	Stage string `json:"stage"`
	Cause string `json:"cause"` // short and stable, for counting: "truncated", "no-row", ...
	Error string `json:"error"` // the whole story
}

// Files are the phase's files of one channel, in task order.
func (p *PhaseManifest) Files(channel string) []PartFile {
	var out []PartFile
	for i := range p.Tasks {
		for _, f := range p.Tasks[i].Files {
			if f.Channel == channel {
				out = append(out, f)
			}
		}
	}
	return out
}

// Sum adds up a counter over the phase's tasks.
func (p *PhaseManifest) Sum(counter string) int64 {
	var n int64
	for i := range p.Tasks {
		n += p.Tasks[i].Counters[counter]
	}
	return n
}

// Validate reports the first thing that makes the job impossible to run.
func (j *JobSpec) Validate() error {
	if j.ID == "" {
		return fmt.Errorf("job has no id")
	}
	seen := make(map[PhaseID]*PhaseSpec, len(j.Phases))
	for i := range j.Phases {
		p := &j.Phases[i]
		if p.ID == "" || seen[p.ID] != nil {
			return fmt.Errorf("phase %d: id %q is empty or used twice", i, p.ID)
		}
		if err := p.validate(seen); err != nil {
			return fmt.Errorf("phase %s: %w", p.ID, err)
		}
		seen[p.ID] = p
	}
	for _, b := range j.Budgets {
		if seen[b.Phase] == nil {
			return fmt.Errorf("budget on %s: unknown phase %q", b.Counter, b.Phase)
		}
		if !(b.Fraction >= 0) {
			return fmt.Errorf("budget on %s: a fraction of %g", b.Counter, b.Fraction)
		}
	}
	return j.validateDrops()
}

// validateDrops makes sure that nobody reads what is dropped: whoever does is published before
// the phase that drops it, or is that phase.
func (j *JobSpec) validateDrops() error {
	before := make(map[PhaseID]map[PhaseID]bool, len(j.Phases)) // what is published before a phase starts
	for i := range j.Phases {
		p := &j.Phases[i]
		all := map[PhaseID]bool{}
		for _, id := range p.needs() {
			all[id] = true
			for up := range before[id] {
				all[up] = true
			}
		}
		before[p.ID] = all
	}
	for i := range j.Phases {
		p := &j.Phases[i]
		for _, d := range p.Drop {
			if !before[p.ID][d.Phase] {
				return fmt.Errorf("phase %s: it drops files of %s, which need not be published before it", p.ID, d.Phase)
			}
			for k := range j.Phases {
				q := &j.Phases[k]
				if q != p && q.reads(d) && !before[p.ID][q.ID] {
					return fmt.Errorf("phase %s: it drops files of %s that phase %s may still read", p.ID, d.Phase, q.ID)
				}
			}
		}
	}
	return nil
}

// needs are the phases that must be published before this one starts.
func (p *PhaseSpec) needs() []PhaseID {
	out := slices.Clone(p.After)
	for _, in := range p.Inputs {
		out = append(out, in.Phase)
	}
	return out
}

func (p *PhaseSpec) reads(d Drop) bool {
	return slices.ContainsFunc(p.Inputs, func(in Input) bool {
		return in.Phase == d.Phase && in.Mode != Values && (d.Channel == "" || in.Mode != Shuffled && in.Channel == d.Channel)
	})
}

// maxTasks bounds the tasks and partitions of a phase: a million are planned for.
const maxTasks = 2_000_000

func (p *PhaseSpec) validate(seen map[PhaseID]*PhaseSpec) error {
	if p.Kind == "" {
		return fmt.Errorf("no kind")
	}
	switch n := p.NumTasks(); {
	case n < 1:
		return fmt.Errorf("no tasks")
	case n > maxTasks || p.Partitions > maxTasks:
		return fmt.Errorf("%d tasks and %d partitions; %d are possible", n, p.Partitions, maxTasks)
	case p.Partitions < 0 || p.Memory < 0:
		return fmt.Errorf("%d partitions, %d bytes of memory", p.Partitions, p.Memory)
	}
	switch p.Type {
	case MapPhase, RoundsPhase:
	case ReducePhase:
		if len(p.Splits) > 0 {
			return fmt.Errorf("a reduce phase has no splits")
		}
	default:
		return fmt.Errorf("unknown type %q", p.Type)
	}
	before := slices.Clone(p.After)
	for _, d := range p.Drop {
		before = append(before, d.Phase)
	}
	for _, id := range before {
		if seen[id] == nil {
			return fmt.Errorf("phase %q is not before it", id)
		}
	}
	names := map[string]bool{}
	for _, in := range p.Inputs {
		if names[in.Name] {
			return fmt.Errorf("input %s: the name is used twice", in.Name)
		}
		names[in.Name] = true
		if in.Channel == "" && (in.Mode == All || in.Mode == Same) {
			return fmt.Errorf("input %s: no channel", in.Name)
		}
		from := seen[in.Phase]
		if from == nil {
			return fmt.Errorf("input %s: phase %q is not before it", in.Name, in.Phase)
		}
		switch in.Mode {
		case All, Values:
		case Same:
			if from.NumTasks() != p.NumTasks() {
				return fmt.Errorf("input %s: %d tasks read %d tasks one to one", in.Name, p.NumTasks(), from.NumTasks())
			}
		case Shuffled:
			if p.Type != ReducePhase || from.Partitions != p.NumTasks() {
				return fmt.Errorf("input %s: a shuffle of %d partitions into %s of %d tasks", in.Name, from.Partitions, p.Type, p.NumTasks())
			}
		default:
			return fmt.Errorf("input %s: unknown mode %q", in.Name, in.Mode)
		}
	}
	return nil
}
