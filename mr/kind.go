package mr

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"sort"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// Task is what a running attempt may use. It is made of small parts so that code below a
// Mapper can ask for the least that it needs.
type Task interface {
	Inputs
	Outputs
	Meter
	Host
}

// Inputs gives a task its records.
type Inputs interface {
	// Spec is the attempt's specification; it is not to be changed.
	Spec() *TaskSpec
	// Records reads an input with mode Same or All, file after file in task order. The key
	// and value are valid until the next step. Damage ends the sequence with errs.Corrupt.
	Records(ctx context.Context, input string) iter.Seq2[Record, error]
}

// Record is one key-value pair of an engine file or of the shuffle.
type Record struct {
	Key, Value []byte
}

// Outputs takes what a task produces. Nothing is visible to anybody until the attempt is
// committed.
type Outputs interface {
	// Emit sends a pair into the shuffle of a phase with Partitions > 0. Both slices are
	// copied before it returns.
	Emit(ctx context.Context, key, value []byte) error
	// Part opens this task's part file of a channel, or returns the one already open. The
	// engine closes it when the task ends.
	Part(ctx context.Context, channel string, o PartOptions) (PartWriter, error)
	// File opens this task's file of a channel in a format of the kind's own. The engine passes
	// the bytes on, sums them up, and commits the file when the task ends; it cannot read it back
	// as records. The extension, with its dot, becomes part of the file's name. A channel has
	// either a part file or such a file, and this is called once for it.
	File(ctx context.Context, channel, extension string) (FileWriter, error)
	// SetValue sets the manifest's small result.
	SetValue(v any) error
}

// FileWriter takes the bytes of a file. It is used by one goroutine at a time.
type FileWriter interface {
	io.Writer
	// SetRows says how many records the bytes are, for the manifest.
	SetRows(n int64)
}

// PartOptions says how a part file is stored. A zero Schema means key-value pairs.
type PartOptions struct {
	Raw    bool              // true: blocks are not compressed
	Schema string            // an Avro record schema; then only AppendFunc may be used
	Meta   map[string]string // goes into the file's header
}

// PartWriter appends records to a part file. It is used by one goroutine at a time.
type PartWriter interface {
	// Append writes a key-value pair; both slices are copied.
	Append(key, value []byte) error
	// AppendFunc writes one record by letting f append its encoded bytes to the block.
	AppendFunc(f func(dst []byte) []byte) error
}

// Meter takes what a task reports about itself. All methods may be called from any goroutine.
type Meter interface {
	// Count adds to a counter. Only counters of committed attempts are ever summed.
	Count(name string, n int64)
	// SetAside writes a record to the quarantine and counts it under "bad" and
	// "bad." + its cause.
	SetAside(ctx context.Context, b BadRecord) error
	// Progress says how much of its input the task has dealt with.
	Progress(done, total int64)
}

// Host is what the process around the task offers.
type Host interface {
	// Store is the file system of the job's folder, to which the paths of part files belong.
	Store() dfs.FS
	// Resolve opens the file system that a URI of the job's input belongs to.
	Resolve(ctx context.Context, uri string) (dfs.FS, dfs.Path, error)
	// Shared returns the process's one instance under key, opening it if need be; callers
	// that come meanwhile wait for it. It stays open between tasks until its phase ends.
	Shared(ctx context.Context, key string, open func(ctx context.Context) (io.Closer, error)) (io.Closer, error)
	// Cache keeps what is pinned between rounds, under the process's budget.
	Cache() *cache.Cache
	// Scratch is a local folder of this attempt, made when it is first asked for and removed when the attempt ends.
	Scratch() (string, error)
	// Slots is how many attempts the process runs at once.
	Slots() int
	// Log is the attempt's logger.
	Log() *zap.Logger
}

// Mapper deals with one split or one partition's inputs.
type Mapper interface {
	Map(ctx context.Context, t Task) error
}

// MapperFunc is a Mapper made of a function.
type MapperFunc func(ctx context.Context, t Task) error

// Map calls f.
func (f MapperFunc) Map(ctx context.Context, t Task) error { return f(ctx, t) }

// EachRecord is a Mapper that calls f for every record of the named input.
func EachRecord(input string, f func(ctx context.Context, t Task, r Record) error) Mapper {
	return MapperFunc(func(ctx context.Context, t Task) error {
		for r, err := range t.Records(ctx, input) {
			if err != nil {
				return err
			}
			if err := f(ctx, t, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// Value is one value of a key, with the index (in the phase's Inputs) of the input that it
// came from, so that a join can tell its sides apart. Values come ordered by input, then by
// the task that emitted them, then by the order in which it did.
type Value struct {
	Input int
	Data  []byte // valid until the next step
}

// Reducer deals with one key and its values. Keys come in byte order.
type Reducer interface {
	Reduce(ctx context.Context, t Task, key []byte, values iter.Seq2[Value, error]) error
}

// Finisher is a Reducer that has something to do after the last key.
type Finisher interface {
	Finish(ctx context.Context, t Task) error
}

// Combine merges values of one key on the map side. It must be associative and commutative
// in effect: how often it runs, and over which subsets, is up to the engine.
type Combine func(key []byte, values iter.Seq[[]byte], emit func(key, value []byte) error) error

// Rounds opens the pinned partitions of a rounds phase.
type Rounds interface {
	Open(ctx context.Context, t Task) (Partition, error)
}

// Partition is one pinned partition. Its methods are called by one goroutine at a time, for
// rounds in increasing order, though not necessarily for every round: a partition that was
// reopened elsewhere starts in the middle. So a round's message must carry all that it needs.
type Partition interface {
	// Round computes the partial sum for a message and appends it to dst.
	Round(ctx context.Context, round int, msg []byte, dst []byte) ([]byte, error)
	// Finish gets the loop's last message and writes the partition's outputs.
	Finish(ctx context.Context, t Task, final []byte) error
	// Close lets go of memory and files.
	Close() error
}

// Loop is the coordinator's side of a rounds phase. It is a deterministic function of the
// sums that it was given, so that a coordinator that was restarted can replay it.
type Loop interface {
	// Next takes the merged sum of the last round (nil before the first) and returns the
	// next message; with done, the message is the last one and goes to Partition.Finish.
	Next(ctx context.Context, sum []byte) (msg []byte, done bool, err error)
}

// Kind is something that tasks can run, by name. Which functions are set depends on the type
// of phase that it serves.
type Kind struct {
	Name    string
	Map     func(params json.RawMessage) (Mapper, error)
	Reduce  func(params json.RawMessage) (Reducer, error)
	Combine func(params json.RawMessage) (Combine, error) // optional, for map phases with a shuffle
	// Partition says which of n partitions a key goes to; optional, for map phases with a
	// shuffle. Without it keys are spread by their hash.
	Partition func(params json.RawMessage) (func(key []byte, n int) int, error)
	Rounds    func(params json.RawMessage) (Rounds, error)
	// Merge adds sum b of a round into a and returns the result, which may reuse a's memory; for kinds
	// with rounds. It must be associative and commutative to the last bit: the order of partitions and
	// workers is not fixed. Workers call it, and the coordinator, from several goroutines.
	Merge func(a, b []byte) ([]byte, error)
	// Loop makes the coordinator's side; read gives it the small results (Manifest.Value) of
	// a published phase's tasks.
	Loop func(ctx context.Context, params json.RawMessage, read func(PhaseID) []json.RawMessage) (Loop, error)
}

// Registry holds the kinds that a process can run. It is not changed after it is built.
type Registry struct {
	kinds map[string]Kind
}

// NewRegistry returns a registry of the given kinds. Two of one name are an error.
func NewRegistry(kinds ...Kind) (*Registry, error) {
	r := &Registry{kinds: make(map[string]Kind, len(kinds))}
	for _, k := range kinds {
		if _, ok := r.kinds[k.Name]; ok || k.Name == "" {
			return nil, fmt.Errorf("kind %q is empty or registered twice", k.Name)
		}
		r.kinds[k.Name] = k
	}
	return r, nil
}

// Kind finds a kind.
func (r *Registry) Kind(name string) (Kind, error) {
	k, ok := r.kinds[name]
	if !ok {
		names := make([]string, 0, len(r.kinds))
		for n := range r.kinds {
			names = append(names, n)
		}
		sort.Strings(names)
		return Kind{}, fmt.Errorf("unknown kind %q; this process knows %v", name, names)
	}
	return k, nil
}

// Decode reads a kind's parameters strictly: an unknown field is an error.
func Decode[T any](params json.RawMessage) (T, error) {
	var v T
	if err := unmarshalStrict(params, &v); err != nil {
		return v, fmt.Errorf("parameters: %w", err)
	}
	return v, nil
}
