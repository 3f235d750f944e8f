package journal

import (
	"bytes"
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
		{Kind: "job-started", Job: "j", Schema: 1, Time: at},
		{Kind: "attempt-succeeded", Attempt: "p/00001/1", Counters: map[string]int64{"rows": 3}, Time: at},
	}
	for _, e := range want {
		w.Append(e)
	}
	if w.Err() != nil {
		t.Fatal(w.Err())
	}
	for cut := range 30 {
		text := b.String() + `{"kind":"job-done","time":"20`[:cut]
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
