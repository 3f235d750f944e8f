package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsWrittenIsReadAndATornTailIsNot(t *testing.T) {
	var b bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := NewWriter(&b, func() time.Time { return at })
	want := []Event{
		{Kind: "job-started", Job: "j", Schema: SchemaVersion, Time: at},
		{Kind: "attempt-succeeded", Attempt: "p/00001/1", Counters: map[string]int64{"rows": 3}, Time: at},
	}
	for _, e := range want {
		w.Append(e)
	}
	if w.Err() != nil {
		t.Fatal(w.Err())
	}
	next := withCheck([]byte(`{"kind":"job-done","time":"20"}`))
	for cut := range len(next) - 1 {
		text := b.String() + string(next[:cut])
		var got []Event
		err := Read(strings.NewReader(text), func(e Event) error { got = append(got, e); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("cut %d (-want +got):\n%s", cut, d)
		}
	}
	whole, err := EndsWhole(strings.NewReader("a\nb"), 3)
	if whole || err != nil {
		t.Errorf("a torn log is taken for whole, %v", err)
	}
}

func TestDamageInTheMiddleIsReported(t *testing.T) {
	err := Read(strings.NewReader("{\"kind\":\"job-started\"}\nnonsense\n{}\n"), func(Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want line 2 named", err)
	}
}

// TestALogIsGoneOnWith: a run is cut off at every byte, and the next one begins a new line if
// it has to. What was whole is read, of both.
func TestALogIsGoneOnWith(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	run := func(job string) string {
		var b bytes.Buffer
		w := NewWriter(&b, func() time.Time { return at })
		w.Append(Event{Schema: SchemaVersion, Kind: "job-started", Job: job})
		w.Append(Event{Kind: "phase-started", Phase: "p", Tasks: 3})
		w.Append(Event{Kind: "job-done", Job: job})
		return b.String()
	}
	first, second := run("a"), run("b")
	for cut := range len(first) + 1 {
		text := first[:cut]
		whole, err := EndsWhole(strings.NewReader(text), int64(cut))
		if err != nil {
			t.Fatal(err)
		}
		if !whole {
			text += "\n"
		}
		want := strings.Count(first[:cut], "\n") + 3
		if !whole && first[cut] == '\n' {
			want++ // the line was whole but for its end, which it has now
		}
		got := 0
		if err := Read(strings.NewReader(text+second), func(Event) error { got++; return nil }); err != nil || got != want {
			t.Fatalf("cut at %d: %d events, %v; want %d", cut, got, err, want)
		}
	}
}

func TestDamageAtTheEndIsReported(t *testing.T) {
	for _, text := range []string{"nonsense\n", "{}\nnonsense\n", "nonsense\n{\"kind\":\"job-done\"}\n", "a\nb\n{\"schemaVersion\":1}\n"} {
		if err := Read(strings.NewReader(text), func(Event) error { return nil }); err == nil {
			t.Errorf("%q is taken for whole", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"kind\":\"job-started\"}\n"))
	f.Add(withCheck([]byte("{\"schemaVersion\":2,\"kind\":\"job-started\"}")))
	f.Add([]byte("{\"kind\":\n{\"schemaVersion\":1}\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		_ = Read(bytes.NewReader(b), func(Event) error { n++; return nil })
		if lines := bytes.Count(b, []byte("\n")); n > lines+1 { // the last one may lack its end
			t.Errorf("%d events in %d lines", n, lines)
		}
	})
}

func TestSchemaNamesEveryField(t *testing.T) {
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(Event{Check: "c", Schema: 1, Kind: "job-done", Job: "j", Phase: "p", Tasks: 1, Attempt: "a", Round: 1, Seconds: 1,
		Counters: map[string]int64{"n": 1}, Bytes: 1, Error: "e", Cause: "c", Plan: "p", Resident: 1, Note: "n", Expected: 1, Measured: 1})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	var s struct{ Properties map[string]any }
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	for f := range fields {
		if s.Properties[f] == nil {
			t.Errorf("the schema does not know %q", f)
		}
	}
	if len(fields) != len(s.Properties) {
		t.Errorf("%d fields, %d in the schema", len(fields), len(s.Properties))
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestAFullDiskIsKept(t *testing.T) {
	w := NewWriter(full{}, time.Now)
	w.Append(Event{Kind: "job-started"})
	w.Append(Event{Kind: "job-done"})
	if w.Err() == nil || !strings.Contains(w.Err().Error(), "no space") {
		t.Errorf("got %v", w.Err())
	}
}

// TestEveryDamagedByteIsNoticed: whatever a single byte of a log becomes, reading reports it, and what was read before is right;
// also where the damage is in the last line of a run, which a crash may have cut off.
func TestEveryDamagedByteIsNoticed(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var b bytes.Buffer
	w := NewWriter(&b, func() time.Time { return at })
	for range 2 {
		w.Append(Event{Schema: SchemaVersion, Kind: "job-started", Job: "j", Plan: "fused"})
		w.Append(Event{Kind: "attempt-succeeded", Attempt: "p/00001/1", Counters: map[string]int64{"rows": 3}})
		w.Append(Event{Kind: "job-done", Error: "a \"quoted\" word"})
	}
	var want []Event
	keep := func(e Event) error { want = append(want, e); return nil }
	if err := Read(bytes.NewReader(b.Bytes()), keep); err != nil || len(want) != 6 {
		t.Fatalf("%d events, %v", len(want), err)
	}
	flips := 0
	for i := range b.Len() {
		for _, x := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 0xff, b.Bytes()[i] ^ '\n', b.Bytes()[i] ^ '"', b.Bytes()[i] ^ '}'} {
			if x == 0 {
				continue
			}
			text := bytes.Clone(b.Bytes())
			text[i] ^= x
			n := 0
			err := Read(bytes.NewReader(text), func(e Event) error {
				if d := cmp.Diff(want[n], e); d != "" {
					t.Errorf("byte %d becomes %q: %s", i, text[i], d)
				}
				n++
				return nil
			})
			if flips++; err == nil {
				t.Errorf("byte %d becomes %q, and %d events are read without a word: %q", i, text[i], n, text)
			}
		}
	}
	t.Logf("%d flips noticed", flips)
}
