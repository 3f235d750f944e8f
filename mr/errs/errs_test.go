package errs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
