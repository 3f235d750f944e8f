package extract

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
)

func TestOutcome(t *testing.T) {
	bad := []mr.BadRecord{{Key: "k", Stage: "image", Cause: "truncated", Error: "e"}, {Key: "k", Cause: "missing"}}
	frames := AppendFrame(AppendFrame(nil, []byte("one")), nil)
	for _, c := range []struct {
		bad     []mr.BadRecord
		none    bool
		payload []byte
	}{{nil, false, frames}, {bad, false, frames}, {bad[:1], true, nil}} {
		b, err := AppendOutcome([]byte("x"), c.bad, c.none)
		if err != nil {
			t.Fatal(err)
		}
		o, err := SplitOutcome(append(b, c.payload...)[1:])
		if err != nil || o.None != c.none || !reflect.DeepEqual(o.Bad, c.bad) || !bytes.Equal(o.Payload, c.payload) {
			t.Errorf("%+v, %v; want %+v", o, err, c)
		}
	}
	one, rest, err := CutFrame(frames)
	two, rest2, err2 := CutFrame(rest)
	if string(one) != "one" || len(two) != 0 || len(rest2) != 0 || err != nil || err2 != nil {
		t.Errorf("%q, %q, %d left, %v, %v", one, two, len(rest2), err, err2)
	}
}

// FuzzOutcome decodes damaged values: an error, never a panic.
func FuzzOutcome(f *testing.F) {
	b, err := AppendOutcome(nil, []mr.BadRecord{{Key: "k"}}, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(b, AppendFrame(nil, []byte("image"))...))
	f.Add([]byte{usable})
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := SplitOutcome(data)
		if err != nil {
			return
		}
		for rest := o.Payload; len(rest) > 0; {
			_, next, err := CutFrame(rest)
			if err != nil {
				return
			}
			if len(next) >= len(rest) {
				t.Fatal("a frame took nothing")
			}
			rest = next
		}
	})
}
