package commit

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/mr"
)

// fill sets every field below v to something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"x":1}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), reflect.ValueOf(int64(7)))
	case reflect.String:
		v.SetString("text")
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Uint32:
		v.SetUint(5)
	default:
		v.SetInt(3)
	}
}

// TestRecordsHoldWholeManifests: a field that Manifest gains must not be lost here.
func TestRecordsHoldWholeManifests(t *testing.T) {
	var m mr.Manifest
	fill(reflect.ValueOf(&m).Elem())
	data, err := keptRecord(&m)
	if err != nil {
		t.Fatal(err)
	}
	all, err := decodeSegment("p", encodeSegment("p", [][]byte{data}))
	if err != nil || len(all) != 1 {
		t.Fatalf("%d records, %v", len(all), err)
	}
	got, err := all[0].manifest(m.Attempt.Task.Phase)
	if d := cmp.Diff(m, got); err != nil || d != "" {
		t.Errorf("%v (-kept +read):\n%s", err, d)
	}
}

// hard makes records that do not pack, so that there are several blocks.
func hard(n int) (out [][]byte) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		data := make([]byte, 20_000)
		for k := range data {
			data[k] = byte(rnd.Uint32())
		}
		out = append(out, appendRecord(nil, recordKept, try{i, 1, 1}, data))
	}
	return out
}

// TestEveryDamageIsNoticed: whichever byte is wrong and wherever a segment ends, that is said, and what is read is
// what was written.
func TestEveryDamageIsNoticed(t *testing.T) {
	records := hard(10)
	whole := encodeSegment("p/1", records)
	read := func(data []byte, what string) int {
		t.Helper()
		all, err := decodeSegment("p/1", data)
		if err == nil {
			t.Errorf("%s: not noticed", what)
		}
		for _, r := range all {
			if string(r.encoded()) != string(records[r.index]) {
				t.Fatalf("%s: record %d is another one", what, r.index)
			}
		}
		return len(all)
	}
	most := 0
	step := max(1, len(whole)/300)
	for i := 0; i < len(whole); i++ {
		if i > 100 && i < len(whole)-100 && i%step != 0 {
			continue
		}
		data := append([]byte(nil), whole...)
		data[i] ^= 1 << (i % 8)
		most = max(most, read(data, fmt.Sprintf("byte %d", i)))
		most = max(most, read(whole[:i], fmt.Sprintf("cut at %d", i)))
	}
	if most != len(records) { // where only the end is missing
		t.Errorf("at most %d records were read of a damaged segment", most)
	}
	if n := read(append(append([]byte(nil), whole...), 0), "longer"); n != len(records) {
		t.Errorf("%d records of a longer one", n)
	}
	if _, err := decodeSegment("p/2", whole); err == nil {
		t.Error("a segment under another name counts")
	}
	// A damaged block costs its own records only.
	data := append([]byte(nil), whole...)
	data[len(segmentMagic)+blockHead+5] ^= 1
	if n := read(data, "first block"); n != 6 {
		t.Errorf("%d records beside those of the first block, want 6", n)
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(encodeSegment("p/1", hard(1)))
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := decodeSegment("p/1", data)
		if err != nil {
			return
		}
		var encoded [][]byte
		for _, r := range all {
			encoded = append(encoded, r.encoded())
		}
		again, err := decodeSegment("p/1", encodeSegment("p/1", encoded))
		if err != nil || len(again) != len(all) {
			t.Errorf("%d records, written and read again %d, %v", len(all), len(again), err)
		}
	})
}

func TestMerge(t *testing.T) {
	kept := func(i, n int) record { return record{try: try{i, n, 1}, kind: recordKept} }
	forgot := func(i, n int) record { return record{try: try{i, n, 1}, kind: recordForgotten} }
	var got []string
	for _, b := range merge([]record{kept(0, 1), kept(1, 1), forgot(1, 1), kept(1, 2), forgot(2, 1), kept(0, 1), kept(2, 1), forgot(1, 1)}) {
		all, err := decodeBlock(snappy.Encode(nil, b), len(b))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(all[0].kind, all[0].index, all[0].number))
	}
	if d := cmp.Diff([]string{"1 0 1", "2 1 1", "1 1 2", "2 2 1"}, got); d != "" {
		t.Error(d)
	}
}
