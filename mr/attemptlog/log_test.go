package attemptlog

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestLogIsBounded(t *testing.T) {
	l := New()
	for i := range 100_000 {
		if _, err := fmt.Fprintf(l, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	b := l.Bytes()
	if len(b) > MaxBytes || !bytes.HasPrefix(b, []byte("line 0\nline 1\n")) || !bytes.HasSuffix(b, []byte("\nline 99999\n")) {
		t.Errorf("%d bytes: %.30q … %q", len(b), b, b[len(b)-30:])
	}
	// What is left out is counted, and only whole lines are.
	var kept, left int64
	for line := range strings.Lines(string(b)) {
		if n, _ := fmt.Sscanf(line, "… (%d bytes", &left); n == 1 {
			continue
		}
		if !strings.HasPrefix(line, "line ") {
			t.Fatalf("half a line: %q", line)
		}
		kept += int64(len(line))
	}
	var all int64
	for i := range 100_000 {
		all += int64(len(fmt.Sprintf("line %d\n", i)))
	}
	if kept+left != all {
		t.Errorf("%d kept and %d left out of %d", kept, left, all)
	}
	if cap(l.tail) > 4*tailBytes {
		t.Errorf("a log holds %d bytes", cap(l.tail))
	}
	l = New()
	l.Beside(zap.NewNop()).Error("long", zap.String("x", strings.Repeat("x", 1<<20)))
	if n := len(l.Bytes()); n > lineBytes+100 {
		t.Errorf("a line of a megabyte takes %d bytes", n)
	}
}

func TestWhatIsWorthAFile(t *testing.T) {
	l := New()
	l.Routine().Info("begins", zap.Int("n", 3))
	if l.Worth(1) || !bytes.Contains(l.Bytes(), []byte(`begins	{"n": 3}`)) {
		t.Errorf("%v, %q", l.Worth(1), l.Bytes())
	}
	if !l.Worth(2) {
		t.Error("a second attempt is not worth a file")
	}
	l.began = time.Now().Add(-Slow)
	if !l.Worth(1) {
		t.Error("a slow attempt is not worth a file")
	}
	l = New()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { l.Beside(zap.NewNop()).With(zap.String("a", "b")).Warn("look") })
	}
	wg.Wait()
	if !l.Worth(1) || bytes.Count(l.Bytes(), []byte("look")) != 8 {
		t.Errorf("%q", l.Bytes())
	}
}

func TestFiles(t *testing.T) {
	store := mem.New()
	id := func(phase mr.PhaseID, i, n int) mr.AttemptID {
		return mr.AttemptID{Task: mr.TaskID{Phase: phase, Index: i}, Number: n}
	}
	for _, f := range []struct {
		a     mr.AttemptID
		epoch int64
		log   string
	}{{id("pool conv5/3", 1, 1), 1, "one\n"}, {id("pool conv5/3", 1, 2), 1, "two\nlines\n"}, {id("pool conv5/3", 1, 1), 2, "again\n"}, {id("pool conv5/3", 10, 1), 1, "ten\n"}, {id("b", 0, 1), 1, "==> \n"}} {
		if err := dfs.WriteFile(t.Context(), store, Path("j", f.a, f.epoch), []byte(f.log)); err != nil {
			t.Fatal(err)
		}
	}
	if err := dfs.WriteFile(t.Context(), store, Folder("j").Join("b", "notes.txt"), nil); err != nil {
		t.Fatal(err)
	}
	say := func(all []Text, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, x := range all {
			fmt.Fprintf(&b, "%s e%d %q; ", x.Attempt, x.Epoch, x.Log)
		}
		return b.String()
	}
	var joined bytes.Buffer
	if n, err := Join(t.Context(), store, "j", []mr.PhaseID{"b", "pool conv5/3", "none"}, &joined, 1<<20); err != nil || n != 5 {
		t.Fatal(n, err)
	}
	for _, c := range []struct {
		task   mr.TaskID
		number int
		want   string
	}{
		{mr.TaskID{Phase: "pool conv5/3", Index: 1}, 0, `pool conv5/3/00001/1 e1 "one\n"; pool conv5/3/00001/2 e1 "two\nlines\n"; pool conv5/3/00001/1 e2 "again\n"; `},
		{mr.TaskID{Phase: "pool conv5/3", Index: 1}, 2, `pool conv5/3/00001/2 e1 "two\nlines\n"; `},
		{mr.TaskID{Phase: "b"}, 0, `b/00000/1 e1 "==> \n"; `},
		{mr.TaskID{Phase: "b", Index: 7}, 0, ""},
	} {
		if got := say(Find(t.Context(), store, "j", c.task, c.number)); got != c.want {
			t.Errorf("%s/%d: %s", c.task, c.number, got)
		}
		got := say(FindJoined(bytes.NewReader(joined.Bytes()), c.task, c.number))
		if strings.Count(got, ";") != strings.Count(c.want, ";") || c.number > 0 && got != c.want {
			t.Errorf("joined, %s/%d: %s", c.task, c.number, got)
		}
	}
	joined.Reset()
	if n, err := Join(t.Context(), store, "j", []mr.PhaseID{"b", "pool conv5/3"}, &joined, 1); err != nil || n != 1 || !strings.Contains(joined.String(), "of 4 more attempts") {
		t.Errorf("%d, %v:\n%s", n, err, joined.String())
	}
}

// endless is a file of joined logs that is made as it is read.
type endless struct {
	head string
	left int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.head != "" {
		n := copy(b, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(b), e.left)
	for i := range n {
		b[i] = "another attempt's log\n"[(e.left-i)%22]
	}
	e.left -= n
	return n, nil
}

// TestFindJoinedHoldsWhatItFinds, and not the whole file.
func TestFindJoinedHoldsWhatItFinds(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	head := "==> a/00001/1 epoch 1 <==\n" + long + "==> b/00001/1 epoch 1 <==\nmine\n\n==> a/00002/1 epoch 1 <==\n"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	found, err := FindJoined(&endless{head, 64 << 20}, mr.TaskID{Phase: "a", Index: 1}, 0)
	runtime.ReadMemStats(&after)
	if err != nil || len(found) != 1 || string(found[0].Log) != long+"==> b/00001/1 epoch 1 <==\nmine\n" {
		t.Errorf("%d logs, %v", len(found), err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("it took %d bytes of memory", n)
	}
	// What no Join has written is cut, too.
	found, err = FindJoined(&endless{"==> a/00001/1 epoch 1 <==\n", 8 << 20}, mr.TaskID{Phase: "a", Index: 1}, 0)
	if err != nil || len(found) != 1 || len(found[0].Log) > MaxBytes+1 {
		t.Errorf("%d logs, %v", len(found), err)
	}
}

func TestTarget(t *testing.T) {
	known := func(p mr.PhaseID) bool { return p == "extract" || p == "pool/3" }
	for in, want := range map[string]string{"extract/7": "extract/00007 0", "extract/00007/2": "extract/00007 2", "pool/3/00001": "pool/3/00001 0", "pool/3/1/4": "pool/3/00001 4"} {
		task, n, err := Target(in, known)
		if got := fmt.Sprint(task, " ", n); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "extract", "extract/x", "/1", "../1", "../../0", "extract/../0", "extract/./0/1", "../../.."} {
		if _, _, err := Target(in, known); err == nil {
			t.Errorf("%q is a task", in)
		}
	}
}

// TestMissing: what a job does not have is told apart from what it may have, and with what there is.
func TestMissing(t *testing.T) {
	phases := []PhaseSize{{"table", 1}, {"extract", 40}, {"train", 0}}
	for _, task := range []mr.TaskID{{Phase: "extract", Index: 39}, {Phase: "train", Index: 7}} {
		if err := Missing(task, phases); err != nil {
			t.Errorf("%v: %v", task, err)
		}
	}
	for want, err := range map[string]error{
		"there are table, extract, train": Missing(mr.TaskID{Phase: "nophase"}, phases),
		"its tasks are 0 to 39":           Missing(mr.TaskID{Phase: "extract", Index: 999}, phases),
		"no phase of the job has begun":   Missing(mr.TaskID{Phase: "extract"}, nil),
		"there are logs of 1, 3":          MissingAttempt(mr.TaskID{Phase: "extract"}, 9, []mr.AttemptID{{Number: 1}, {Number: 3}, {Number: 3}}),
	} {
		if !errs.Is(err, errs.NotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one that says %q", err, want)
		}
	}
}
