package errs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"
)

type userError struct{}

func (userError) Error() string   { return "column \"x\" is missing" }
func (userError) ErrorID() string { return "E-COLUMN" }
func (userError) Hint() string    { return "name another column" }

func TestKindOf(t *testing.T) {
	_, notExist := os.Open("/does/not/exist")
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{nil, Unknown},
		{errors.New("x"), Unknown},
		{notExist, NotExist},
		{fmt.Errorf("a: %w", fs.ErrExist), Exist},
		{context.Canceled, Canceled},
		{&fs.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC}, NoSpace},
		{userError{}, Invalid},
		{E("read", Unknown, "p", errors.New("x")), Unknown},
		{E("read", Unknown, "p", userError{}), Invalid},
		{E("read", Corrupt, "p", errors.New("x")), Corrupt},
		{E("read", Unknown, "p", notExist), NotExist},
		{fmt.Errorf("outer: %w", E("read", Lost, "p", errors.New("x"))), Lost},
		{E("outer", Unknown, "", E("inner", NoMemory, "", errors.New("x"))), NoMemory},
		{E("outer", Invalid, "", E("inner", NoMemory, "", errors.New("x"))), Invalid},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestErrorPrintsEachNameOnce(t *testing.T) {
	inner := E("read", Corrupt, "a/part-0", errors.New("checksum differs"))
	outer := E("map", Unknown, "a/part-0", inner)
	outer.(*Error).Task = "extract/00001/2"
	want := "extract/00001/2: map: read: a/part-0: checksum differs"
	if got := outer.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWireKeepsWhatDecides(t *testing.T) {
	in := E("map", Unknown, "in.csv", userError{}).(*Error)
	in.Task = "table/00000/1"
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Error
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if out.Kind != Invalid || out.ErrorID() != "E-COLUMN" || out.Hint() != "name another column" || out.Error() != in.Error() {
		t.Errorf("got %+v from %s", out, b)
	}
}

func TestKindNamesRoundTrip(t *testing.T) {
	for k := Unknown; k < kinds; k++ {
		var got Kind
		if err := got.UnmarshalText([]byte(k.String())); err != nil || got != k {
			t.Errorf("%v came back as %v, %v", k, got, err)
		}
	}
}

// TestWireKeepsTheChain: what an inner Error names reaches the other side, through any wrapping.
func TestWireKeepsTheChain(t *testing.T) {
	inner := E("read", Corrupt, "j/a/00001-1-e1/x.avro", errors.New("checksum differs"))
	middle := E("records", Unknown, "", fmt.Errorf("input in: %w", errors.Join(inner, errors.New("close failed"))))
	in := E("map k", Unknown, "", middle).(*Error)
	in.Task = "b/00000/1"
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Error
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if out.Error() != in.Error() || out.Task != in.Task || KindOf(&out) != Corrupt {
		t.Errorf("got  %v\nwant %v", &out, in)
	}
	var paths []string
	for e := (*Error)(nil); ; {
		from := error(&out)
		if e != nil {
			from = e.Err
		}
		if e = nil; !errors.As(from, &e) {
			break
		}
		paths = append(paths, e.Path)
	}
	if want := []string{"", "", "j/a/00001-1-e1/x.avro"}; !slices.Equal(paths, want) {
		t.Errorf("paths of the chain %q, want %q", paths, want)
	}
	again, err := json.Marshal(&out)
	if err != nil || string(again) != string(b) {
		t.Errorf("written again: %s, %v\nwant %s", again, err, b)
	}
}

// TestWireBoundsTheChain: neither a long chain nor an empty one does harm.
func TestWireBoundsTheChain(t *testing.T) {
	err := errors.New("x")
	for range 1000 {
		err = E("", Transient, "", err)
	}
	b, merr := json.Marshal(err)
	var out Error
	if uerr := json.Unmarshal(b, &out); merr != nil || uerr != nil || out.Error() != "x" || out.Kind != Transient {
		t.Errorf("got %v, %v, %v", &out, merr, uerr)
	}
	if len(b) > 10_000 {
		t.Errorf("%d bytes", len(b))
	}
	if b, err := json.Marshal(&Error{Kind: Lost}); err != nil || json.Unmarshal(b, &out) != nil || out.Kind != Lost {
		t.Errorf("got %+v from %s, %v", out, b, err)
	}
}
