package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/vista-mr/vista-mr/tools/cgroup"
)

// needs is the number in a refusal.
var needs = regexp.MustCompile(`it needs (\d+) MiB`)

// below is how far under the least accepted limit a refusal must be right.
const below = 0.9

// edge is the least limit in MiB that a job is accepted with. A refusal far below it may ask for more, because which plans there are depends
// on the limit: a broadcast is not thought of in memory that its table would take much of. The one just below is to ask for that limit.
func edge(explain func(limit int) (string, error)) (least int, err error) {
	below, least, says := 1, 0, 0 // refused with, not refused with, and what the refusal just below asks for
	for limit := below; least == 0 || least-below > 1; limit = (below + least) / 2 {
		text, err := explain(limit)
		if err != nil {
			return 0, err
		}
		m := needs.FindStringSubmatch(text)
		switch {
		case m == nil && least == 0:
			return 0, fmt.Errorf("in %d MiB it is not refused with a number:\n%s", limit, text)
		case m == nil:
			least = limit
			continue
		}
		if says, err = strconv.Atoi(m[1]); err != nil {
			return 0, err
		}
		if below = limit; least == 0 {
			least = says
		}
	}
	if says != least {
		return 0, fmt.Errorf("in %d MiB it is refused as if it needed %d, and in %d it is not", below, says, least)
	}
	return least, nil
}

// refusals tries the memory model at its edge: for each network, in a control group of a MiB more than it accepts, where the
// job must finish, with an empty cache of prepared networks and with the one that this has left; and forced, with a tenth less,
// where a job that finishes with an empty cache was refused without need. With the network prepared less may do, at the price of
// weights that are read again for each call, which its pages, read by nobody else, show in seconds (docs/decisions.md, 138).
func (b *bench) refusals(ctx context.Context) error {
	records := 25
	if b.records > 0 {
		records = b.records
	}
	data, err := b.data(ctx, records)
	if err != nil {
		return err
	}
	fmt.Println("| network | needs MiB | given | cache | outcome | seconds |\n| --- | ---: | ---: | --- | --- | ---: |")
	kills, needless, lucky := 0, 0, 0
	var all []error
	for _, c := range networks() {
		if b.model != "" && b.model != c.model {
			continue
		}
		file, out, err := b.jobFile("refusals", data, c.cnn(), "")
		if err != nil {
			return err
		}
		least, err := edge(func(limit int) (string, error) {
			text, err := exec.CommandContext(ctx, b.bin, "explain", file, "--set", fmt.Sprintf("limits.memory=%dMiB", limit)).CombinedOutput()
			if err != nil && !refused(err) {
				return "", fmt.Errorf("%s in %d MiB: %w\n%s", c.model, limit, err, text)
			}
			return string(text), nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.model, err)
		}
		cache := filepath.Join(b.dir, "refusals-cache")
		for _, t := range []struct {
			limit  int
			cached bool
		}{{least + 1, false}, {least + 1, true}, {int(below * float64(least)), true}, {int(below * float64(least)), false}} {
			ready := evict
			if !t.cached {
				ready = os.RemoveAll
			}
			if err := ready(cache); err != nil {
				return err
			}
			u, killed, err := b.grouped(ctx, t.limit, cache, "submit", file, "--set", fmt.Sprintf("limits.memory=%dMiB", t.limit), "--set", "limits.refuse=false")
			if ctx.Err() != nil {
				return ctx.Err()
			}
			within, state := t.limit > least, "finished"
			switch {
			case killed > 0:
				state = "killed"
			case err != nil:
				state = "failed"
			}
			if within && err != nil {
				kills++
				all = append(all, err)
			}
			switch {
			case within || err != nil:
			case t.cached:
				lucky++
				state += ", as the network was prepared"
			default:
				needless++
				state += ": refused without need"
			}
			fmt.Printf("| %s, %d layers | %d | %d | %s | %s | %.1f |\n", c.model, c.layers, least, t.limit, map[bool]string{true: "full", false: "empty"}[t.cached], state, u.seconds)
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(cache); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d accepted jobs that did not finish; of refused ones, with %.0f %% of what they are said to need, %d finish with an empty cache and %d with their network prepared.\n",
		kills, 100*below, needless, lucky)
	return errors.Join(all...)
}

// grouped runs the program in a control group of so many MiB, with a cache of its own if one is named.
func (b *bench) grouped(ctx context.Context, limit int, cache string, args ...string) (u usage, kills int, err error) {
	g, err := cgroup.New(fmt.Sprintf("%dM", limit))
	if err != nil {
		return u, 0, fmt.Errorf("a control group with a limit cannot be made: %w", err)
	}
	cmd := g.Command(ctx, b.bin, args...)
	if cache != "" {
		abs, err := filepath.Abs(cache)
		if err != nil {
			return u, 0, errors.Join(err, g.Remove())
		}
		cmd.Env = append(os.Environ(), "VISTA_MR_CACHE="+abs)
	}
	u, err = run(ctx, cmd)
	_, kills = g.Usage()
	if e := g.Remove(); e != nil {
		err = errors.Join(err, e)
	}
	return u, kills, err
}
