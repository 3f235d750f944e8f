package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// frames are one of each kind.
func frames(tb testing.TB) (out []*frame) {
	id := mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: 1}, Number: 1}
	add := func(f *frame, err error) {
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, f)
	}
	for _, c := range []worker.Command{worker.Launch{Spec: mr.TaskSpec{Job: "j", Attempt: id, Epoch: 1, Type: mr.MapPhase, Kind: "k", Out: "j/p/1"}},
		worker.Cancel{Job: "j", Attempt: id, Epoch: 1, Reason: "hung"}, worker.ShowLog{Number: 1, Job: "j", Attempt: id, Epoch: 1},
		worker.Round{Job: "j", Phase: "p", Epoch: 1, Tasks: []int{1}, Message: []byte("message")},
		worker.ClosePhase{Job: "j", Phase: "p", KeepOpen: []string{"cnn/"}}, worker.CloseJob{Job: "j"}} {
		add(encodeCommand(c))
	}
	runs := []sched.Progress{{Job: "j", Attempt: id, Epoch: 1, Done: 1, Total: 2, Memory: 3}}
	for _, r := range []worker.Report{{Event: sched.Succeeded{Job: "j", Manifest: mr.Manifest{Attempt: id, Epoch: 1, Counters: map[string]int64{"n": 1}}}},
		{Event: sched.Failed{Job: "j", Attempt: id, Epoch: 1, Err: errs.Of("run", errs.E("read", errs.Corrupt, "j/p/x", errors.New("checksum")))}},
		{Event: sched.Opened{Job: "j", Attempt: id, Epoch: 1}}, {Event: sched.Closing{Job: "j", Attempt: id, Epoch: 1}},
		{Event: sched.RoundDone{Job: "j", Phase: "p", Epoch: 1, Tasks: []int{1}}, Sum: []byte("sum")},
		{Event: sched.LoopFailed{Job: "j", Phase: "p", Err: errs.Of("merge", errors.New("no"))}},
		{Event: sched.Beat{Progress: runs, Usage: sched.Usage{Resident: 1}}}, {Log: &worker.LogText{Number: 1, Runs: true, Text: []byte("log")}}} {
		add(encodeReport(r))
	}
	for _, kind := range []string{kindHello, kindDrain} {
		add(body(kind, Hello{Protocol: Protocol, Worker: "w", Slots: 2, Memory: 9, Running: runs, Jobs: []sched.Holding{{Job: "j", Memory: 1}}}))
	}
	return append(out, &frame{header: header{Kind: kindAcks, Acks: []uint64{1, 2}}}, &frame{header: header{Kind: kindBye}})
}

// FuzzFrame reads hostile frames: no panic, nothing that does not survive to be sent again, and no report from which the state machine
// suffers, whose job goes on to its end all the same.
func FuzzFrame(f *testing.F) {
	for _, fr := range frames(f) {
		b, payload, err := fr.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(b, payload...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fr, err := decodeFrame(data)
		if err != nil {
			return
		}
		b, payload, err := fr.encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeFrame(append(b, payload...)); err != nil || again.Kind != fr.Kind || again.Seq != fr.Seq || !bytes.Equal(again.payload, fr.payload) {
			t.Fatalf("%+v is sent as %+v, %v", fr, again, err)
		}
		if decode := commandKinds[fr.Kind]; decode != nil {
			if c, err := decode(fr); err == nil {
				if out, err := encodeCommand(c); err != nil || out.Kind != fr.Kind {
					t.Fatalf("%T is sent as %v, %v", c, out, err)
				}
			}
		}
		s := sched.New(sched.Options{Epoch: 2, Expire: 10})
		s.Step(0, sched.WorkerUp{Worker: "w", Slots: 2})
		s.Step(0, sched.Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 2}, {ID: "q", Type: mr.RoundsPhase, Kind: "k", Tasks: 2}}}})
		switch decode := eventKinds[fr.Kind]; {
		case decode != nil:
			ev, err := decode(fr)
			if err != nil {
				return
			}
			if ev, err = from("w", ev); err != nil {
				t.Fatal(err)
			}
			ends(ev)
			s.Step(1, ev)
			s.Step(2, ev)
		case fr.Kind == kindHello || fr.Kind == kindDrain:
			if h, err := valueOf[Hello](fr); err == nil {
				s.Step(1, h.up())
			}
		}
		for now := sched.Tick(3); now < 40; now++ {
			s.Step(now, sched.Time{})
		}
		s.Step(50, sched.Kill{Job: "j"})
		if s.Job("j").ID != "" {
			t.Fatal("the job has not ended")
		}
	})
}
