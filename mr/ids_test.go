package mr

import (
	"fmt"
	"testing"
)

func TestIDsAsText(t *testing.T) {
	for _, i := range []int{-3, 0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 12_345, 123_456, 1_000_000} {
		a := AttemptID{Task: TaskID{Phase: "train-conv4/1", Index: i}, Number: 12}
		want := fmt.Sprintf("train-conv4/1/%05d", max(i, 0))
		if i < 0 {
			want = fmt.Sprintf("train-conv4/1/%d", i) // it is no task; a message says it as it is
		}
		if got := a.Task.String(); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
		text, err := a.MarshalText()
		if err != nil || string(text) != want+"/12" || a.String() != want+"/12" {
			t.Errorf("%d: %s, %v", i, text, err)
		}
		if i < 0 {
			continue
		}
		var back AttemptID
		if err := back.UnmarshalText(text); err != nil || back != a {
			t.Errorf("%s is read as %v, %v", text, back, err)
		}
	}
}
