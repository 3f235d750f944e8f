package layers

import (
	"context"
	"errors"
)

// Entry describes one network of the catalogue.
type Entry struct {
	Name    string
	H, W, C int
	Layers  []string // feature layers, bottom to top
	Params  int64
	MACs    int64
}

// Roster lists the catalogue. (Signatures first; bodies follow in the next commits.)
func Roster() []Entry { return nil }

// Open makes a CNN ready to be cut.
func Open(ctx context.Context, src Source) (*CNN, error) { return nil, errors.New("in work") }

// Select resolves layers by name.
func (c *CNN) Select(names ...string) ([]Layer, error) { return nil, errors.New("in work") }

// Last returns the last n feature layers: of the roster, or of all candidates for a network not in it.
func (c *CNN) Last(n int) ([]Layer, error) { return nil, errors.New("in work") }

// Program builds the graph that a spec asks for.
func (c *CNN) Program(spec ProgramSpec) (*Program, error) { return nil, errors.New("in work") }

// Preset returns a named preprocessing: "imagenet", or "none" (nil).
func Preset(name string) (*Normalize, error) { return nil, errors.New("in work") }
