package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vista-mr/vista-mr/layers/ort"
)

// task is what a measuring process is told.
type task struct {
	Program      string // path of the description
	Cache        string
	Batch, Slots int
	Seconds      float64
	Arena        int64
}

// result is what it answers; sizes in MiB.
type result struct {
	Version      string
	Ready        float64 // seconds until the session can run
	Images       float64
	Seconds, CPU float64 // of inference: by the clock, and of processor time
	Peak         float64 // largest resident size
	RSS, Anon    float64 // resident size after the last batch, and what of it is not pages of files (0 where the system does not tell)
}

// measure starts a process that measures one thing.
func measure(ctx context.Context, o *options, lib, model, mode string) (*result, error) {
	t := task{Program: filepath.Join(o.dir, model+".onnx.json"), Batch: o.batch, Slots: o.slots, Seconds: o.seconds, Arena: o.arena << 20}
	cache := filepath.Join(o.dir, "cache")
	switch mode {
	case "plain":
	case "first":
		t.Cache = filepath.Join(o.dir, "empty")
		defer os.RemoveAll(t.Cache)
	case "cached":
		t.Cache = cache
		fill := t
		fill.Seconds = 0
		if _, err := ask(ctx, lib, fill); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("-modes: %q is none of plain, first, cached", mode)
	}
	return ask(ctx, lib, t)
}

func ask(ctx context.Context, lib string, t task) (*result, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	out, err := again(ctx, lib, "measure", string(b))
	if err != nil {
		return nil, err
	}
	var r result
	return &r, json.Unmarshal(out, &r)
}

// child measures, in a process of its own.
func child(ctx context.Context, text string) (err error) {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	b, err := os.ReadFile(t.Program)
	if err != nil {
		return err
	}
	var p program
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	start := time.Now()
	rt, err := ort.Init(ort.Options{CacheDir: t.Cache, ArenaLimit: t.Arena})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	s, err := rt.Open(ctx, p.Path, p.Digest, p.In, p.Out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r := result{Version: rt.Version(), Ready: time.Since(start).Seconds()}
	if _, err := s.Prepared(); err != nil {
		return err
	}
	if t.Seconds > 0 {
		if err := r.infer(ctx, s, &t); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// infer runs batches on all slots for the time set, after one that does not count.
func (r *result) infer(ctx context.Context, s *ort.Session, t *task) error {
	var images atomic.Int64
	var wg, ready sync.WaitGroup
	errs := make([]error, t.Slots)
	begin := make(chan time.Time)
	ready.Add(t.Slots)
	for i := range t.Slots {
		wg.Go(func() {
			run, err := s.NewRunner(t.Batch)
			if err == nil {
				rnd := rand.New(rand.NewPCG(uint64(i), 1))
				for k := range run.Input() {
					run.Input()[k] = byte(rnd.Uint32())
				}
				err = run.Run(ctx, t.Batch)
				defer run.Close()
			}
			ready.Done()
			end := (<-begin).Add(time.Duration(t.Seconds * float64(time.Second)))
			for err == nil && time.Now().Before(end) {
				err = run.Run(ctx, t.Batch)
				images.Add(int64(t.Batch))
			}
			errs[i] = err
		})
	}
	ready.Wait()
	cpu, start := processorTime(), time.Now()
	for range t.Slots {
		begin <- start
	}
	wg.Wait()
	r.Images, r.Seconds, r.CPU = float64(images.Load()), time.Since(start).Seconds(), processorTime()-cpu
	r.RSS, r.Anon, r.Peak = status("VmRSS"), status("RssAnon"), status("VmHWM")
	return errors.Join(errs...)
}

func processorTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// status reads a size from what Linux tells of a process, in MiB.
func status(key string) float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if f := strings.Fields(sc.Text()); len(f) == 3 && f[0] == key+":" {
			n, err := strconv.ParseFloat(f[1], 64)
			if err == nil {
				return n / 1024
			}
		}
	}
	return 0
}
