package extract

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/blobs"
)

// Name is the kind's name.
const Name = "extract"

// Source says where a task's records come from.
type Source string

// The sources.
const (
	Files  Source = "files"
	Joined Source = "joined"
	Volume Source = "volume"
)

// Channels that a task writes beside those of its outputs.
const (
	Base   = "base"   // key -> row, for records whose row is known
	Failed = "failed" // key -> outcome (AppendOutcome) of records with images that cannot be used
)

// Pooled and Raw are the channels of a layer's pooled vectors and volumes.
func Pooled(layer string) string { return "pooled/" + layer }

// Raw is the channel of a layer's volumes.
func Raw(layer string) string { return "raw/" + layer }

// isRaw tells channels of volumes from those of vectors.
func isRaw(channel string) bool { return strings.HasPrefix(channel, Raw("")) }

// Params says what a task does.
type Params struct {
	Programs []Program `json:"programs"` // run over each batch one after the other; exactly one of Volume
	Source   Source    `json:"source"`
	Input    string    `json:"input,omitempty"` // of Joined and Volume
	Table    string    `json:"table,omitempty"` // input with the broadcast rows; empty: no join here
	Required bool      `json:"required,omitempty"`
	// Images are all that the job makes of an image, for whichever program and phase: an image of which one of them
	// cannot be made is bad, so that every phase has the same records.
	Images   []image.Spec `json:"images"`
	Decoder  string       `json:"decoder,omitempty"` // auto, go, turbo
	Decode   int64        `json:"decode,omitempty"`  // bytes that all slots of a process may decode in; 0: any
	Batch    int          `json:"batch"`
	Store    bool         `json:"raw,omitempty"`      // write blocks uncompressed
	Base     bool         `json:"base,omitempty"`     // write channel Base
	Emit     []string     `json:"emit,omitempty"`     // outputs that go to the shuffle instead of part files, concatenated in this order
	Aside    bool         `json:"aside,omitempty"`    // set records aside whose outputs are no numbers: no other phase yields them
	Repeat   bool         `json:"repeat,omitempty"`   // an earlier phase has counted and set aside what this one sees again
	Multiple string       `json:"multiple,omitempty"` // how the vectors of a record's images become one: images.Mean or images.Max
}

// Program is a model with what it takes: images as Params.Images[Image] says. Those of several that say the same read
// one tensor.
type Program struct {
	Model Model `json:"model"`
	Image int   `json:"image,omitempty"`
}

// outs are the outputs of all programs, one program's behind the other's.
func (p *Params) outs() []Port {
	var out []Port
	for i := range p.Programs {
		out = append(out, p.Programs[i].Model.Out...)
	}
	return out
}

// Model is a CNN program as tasks find it: a file in the job's store.
type Model struct {
	Digest string       `json:"digest"`          // of graph and weights
	URI    string       `json:"uri"`             // path in the job's store
	Files  blobs.Bundle `json:"files,omitempty"` // it and what lies beside it, where that has to be fetched before it is opened
	In     Port         `json:"in"`
	Out    []Port       `json:"out"`
}

// Port is an input or output of a program.
type Port struct {
	Name    string  `json:"name"`              // of the tensor
	Channel string  `json:"channel,omitempty"` // of an output
	Bytes   bool    `json:"bytes,omitempty"`   // uint8 pixels; otherwise float32
	Shape   []int64 `json:"shape"`             // without the batch
}

// Len is the number of elements for one record.
func (p *Port) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= int(d)
	}
	return n
}

// Engine opens CNN programs. The process has one; package layers/ort is the real one.
type Engine interface {
	// Open makes a program ready to run. The result is used by all slots of the process.
	Open(ctx context.Context, m Model) (Session, error)
}

// Session is a program that is ready to run.
type Session interface {
	// NewRunner returns buffers for batches of up to n records, for one goroutine. pixels, if not nil, are those of
	// another program's Runner, read by this one in place of its own.
	NewRunner(n int, pixels []byte) (Runner, error)
	Close() error
}

// Runner runs batches through its own buffers.
type Runner interface {
	Input() []byte       // pixels, if the input port is of bytes
	InputF32() []float32 // otherwise
	// Run runs the first n records. An error that has a method OutOfMemory() bool answering
	// true means that the batch was too large and that a smaller one may work.
	Run(ctx context.Context, n int) error
	Output(i int) []float32 // of output i, n records; valid until the next Run
	Close() error
}

// Kind is what the registry holds.
func Kind(e Engine) mr.Kind {
	return mr.Kind{Name: Name, Map: func(params json.RawMessage) (mr.Mapper, error) {
		p, err := mr.Decode[Params](params)
		if err != nil {
			return nil, err
		}
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return run(ctx, t, &p, e) }), nil
	}}
}
