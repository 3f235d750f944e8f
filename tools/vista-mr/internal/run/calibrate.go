package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// calibration is what was measured of a network on this machine, on one core. The weights' values change no figure, so
// it is known by the network's shape, ONNX Runtime's version and the class of the CPU.
type calibration struct {
	Network string    `json:"network"` // what it is of, see calibrationKey
	MACs    float64   `json:"macs"`    // multiply-accumulates a second
	Weights float64   `json:"weights"` // bytes of weights a second, once a call
	One     float64   `json:"one"`     // seconds of a call with one image
	Many    float64   `json:"many"`    // seconds for each image of a call with Batch images
	Batch   int       `json:"batch"`
	Flight  int64     `json:"flight,omitempty"` // resident bytes of an image in flight; 0: not measured
	Load    float64   `json:"load,omitempty"`   // bytes of weights and programs a second before a job's first phase; 0: not measured
	Job     bool      `json:"job,omitempty"`    // it was measured while a job ran, on as many cores as that had
	When    time.Time `json:"when"`
}

// calibrationKey says what a calibration is of.
func calibrationKey(n *network, version string) string {
	last := n.layers[len(n.layers)-1]
	return fmt.Sprintf("%s %d macs %d bytes %v pool %s ort %s cpu %s", n.cnn.Name, last.MACs, last.Bytes, n.cnn.Input, n.pool, version, ort.CPUClass())
}

// calibrationFile is where it is kept; "" without a cache.
func calibrationFile(key string) string { return cacheFile("rates", key) }

// speeds are the rates that a job is planned with, some of them of a sample of its images, which also says what the data are like. Few
// images are not worth one, unless their size is not known. Room is for a picture that is decoded, see sampleRoom.
func speeds(ctx context.Context, d *data, ns networks, room int64, o *Options) (vistaopt.Rates, error) {
	r := ns.recall(o)
	if d.images == nil || d.stats.Images < sampledOf && d.images.Bytes > 0 {
		return r, nil
	}
	s, err := takeSample(ctx, d, ns[0], room)
	if err != nil {
		return r, err
	}
	d.learn(s)
	if s.decode > 0 {
		r.Decode = s.decode
		r.Source += fmt.Sprintf("; images are decoded at %.1f MB/s, measured on %d of them", s.decode/1e6, s.decoded)
	}
	return r, nil
}

// onceSpeeds is speeds for who is asked about the same networks more than once: before their weights are there, and after.
func onceSpeeds(ctx context.Context, d *data, room int64, o *Options) func(networks) (vistaopt.Rates, error) {
	var known *vistaopt.Rates
	return func(ns networks) (vistaopt.Rates, error) {
		if known != nil {
			ns.recall(o) // each network of several has its own
			return *known, nil
		}
		r, err := speeds(ctx, d, ns, room, o)
		if err == nil {
			known = &r
		}
		return r, err
	}
}

// onceChosen is choose for who is asked about the same networks more than once: of many networks each is told of twice, and what is
// known of them seldom changes with their weights. The choice belongs to whoever asked last.
func onceChosen(j *conf.Job, d *data, old *kept) func(networks, vistaopt.Machine) (*vistaopt.Choice, bool, error) {
	var of []vistaopt.Network
	var on vistaopt.Machine
	var c *vistaopt.Choice
	var follows bool
	return func(ns networks, m vistaopt.Machine) (_ *vistaopt.Choice, _ bool, err error) {
		sizes := ns.sizes()
		if c != nil && on == m && reflect.DeepEqual(of, sizes) {
			return c, follows, nil
		}
		if c, follows, err = choose(j, ns, d, old, m); err != nil {
			c = nil
			return nil, false, err
		}
		of, on = sizes, m
		return c, follows, nil
	}
}

// worthwhile is the time from which on a job is worth a second of calibration.
const worthwhile = 60 // seconds

// calibrated measures networks that were not measured before, and makes the choice anew. What kind of plan it is stays as it
// was: its programs are written, and only how many images are in flight is the machine's matter.
func calibrated(ctx context.Context, j *conf.Job, d *data, ns networks, c *vistaopt.Choice, m vistaopt.Machine, whole []extract.Model, at *place, o *Options) (*vistaopt.Choice, error) {
	if m.Rates.Measured || c.Estimate.Seconds < worthwhile {
		return c, nil
	}
	debug.FreeOSMemory() // the weights that were written are nobody's, and the network is going to have others
	for i, n := range ns {
		if recalled(n, o.ortVersion).Measured {
			continue
		}
		found, err := calibrate(ctx, n, whole[i], d.sample, at.store, trialRoom(j, c, m, &n.size), o)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			o.Log.Warn("the network was not measured beforehand; the estimates are by its size", zap.String("network", n.cnn.Name), zap.Error(err))
			return c, nil
		}
		n.found, n.lookedUp = found, false // its program is ready now
	}
	decode := m.Rates.Decode
	m.Rates = ns.recall(o)
	m.Rates.Decode = decode
	if again, err := chooseAgain(j, ns, d, c.Plan, c.From, limited(j, m)); err == nil {
		return again, nil
	}
	return c, nil
}

// trial is what a network may take that is run before its job.
type trial struct {
	images int   // in flight; 0: not even one
	arena  int64 // bytes that the runtime may allocate
}

// trialRoom is no more than a job is going to take: as many images at once, in the same memory of the runtime. A tracker's driver has
// its part of what the tracker keeps back.
func trialRoom(j *conf.Job, c *vistaopt.Choice, m vistaopt.Machine, n *vistaopt.Network) trial {
	t := trial{c.Plan.CPU * c.Plan.Batch, arenaLimit(j, c.Room, c.Regions, c.Memory)}
	if m.Tracker.Memory <= 0 {
		return t
	}
	if t.arena = min(t.arena, m.Tracker.Driver()-c.Regions.Base); t.arena < c.Regions.Prepare || t.arena < n.WeightBytes+n.ImageBytes {
		return trial{}
	}
	t.images = min(t.images, int((t.arena-n.WeightBytes)/max(n.ImageBytes, 1)))
	return t
}

// recalled returns the rates that were measured for a network, or those by multiply-accumulates. What cannot be read was
// not measured.
func recalled(n *network, version string) vistaopt.Rates {
	r := recalledSpeed(n, version)
	if n.recallLeft() {
		r.Source += "; what Snappy leaves of its features was measured"
	}
	return r
}

func recalledSpeed(n *network, version string) vistaopt.Rates {
	c := n.found
	if c == nil {
		c = kepts(calibrationKey(n, version))
	}
	if c == nil {
		return vistaopt.DefaultRates()
	}
	n.size.Flight = c.Flight
	return c.rates()
}

// kepts is the calibration that is kept under a key; nil: none that can be read and is sane.
func kepts(key string) *calibration {
	var c calibration
	if !recallFile(calibrationFile(key), &c) || c.Network != key || !c.sane() {
		return nil
	}
	return &c
}

// What a measurement can be. The bounds leave room for any machine and network, and keep what is worked out with them finite: an
// estimate of 1e12 s is still a number, and images in flight add up to less than an int64 holds.
const (
	leastRate, mostRate = 1e4, 1e17 // multiply-accumulates or bytes of weights a second; the weights of a small network are read in no time
	leastCall, mostCall = 1e-9, 1e5 // seconds of an image
	mostBatch           = 4096      // as in a job file
	mostFlight          = 1 << 37   // bytes of an image in flight: 128 GiB

	mostAhead = 24 * time.Hour // of the clock here: caches are shared by machines whose clocks differ
)

// past tells whether something can have been measured by now.
func past(when time.Time) bool { return time.Until(when) <= mostAhead }

// sane tells whether a calibration's figures can have been measured. The file is anybody's to change, and disks lose bits.
func (c *calibration) sane() bool {
	within := func(v, least, most float64) bool { return v >= least && v <= most }
	return within(c.MACs, leastRate, mostRate) && within(c.Weights, leastRate, mostRate) && within(c.Many, leastCall, mostCall) && within(c.One, 0, mostCall) &&
		(c.Load == 0 || within(c.Load, leastRate, mostRate)) && past(c.When) && c.Batch >= 1 && c.Batch <= mostBatch && c.Flight >= 0 && c.Flight <= mostFlight
}

// rates are the defaults with what was measured.
func (c *calibration) rates() vistaopt.Rates {
	r := vistaopt.DefaultRates()
	if c.MACs > 0 && c.Weights > 0 {
		r.MACs, r.Weights, r.Measured = c.MACs, c.Weights, true
		if c.Load > 0 {
			r.Load = c.Load
		}
		how := "on a core"
		if c.Job {
			how = "for each core of a job's,"
		}
		r.Source = fmt.Sprintf("measured on this machine on %s: %.1f images/s %s in calls of %d", c.When.Format(time.DateOnly), 1/c.Many, how, c.Batch)
	}
	return r
}

// calibrate measures a network whose program lies in the store, in about a second, and keeps the result for other jobs.
// Images of a sample say what Snappy leaves of its vectors; nil: there is none.
func calibrate(ctx context.Context, n *network, m extract.Model, of *sample, store dfs.FS, room trial, o *Options) (_ *calibration, err error) {
	if room.images < 1 {
		return nil, errors.New("the tracker keeps back too little memory for it")
	}
	name, here := host.InPlace(store, dfs.Path(m.URI))
	if !here {
		return nil, errors.New("the program lies in a store elsewhere")
	}
	pixels, err := of.pictures(n) // before the network is there
	if err != nil {
		return nil, err
	}
	rt, err := ort.Init(ort.Options{Library: o.ORTLib, CacheDir: cacheDir(), ArenaLimit: room.arena})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	s, err := host.Open(ctx, rt, name, m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c := &calibration{Network: calibrationKey(n, o.ortVersion), When: time.Now(), Batch: 1}
	var shares map[string]share
	look := func(r *ort.Runner) (err error) {
		shares, err = n.leaves(m, r, c.Batch)
		return err
	}
	// What the runtime has taken for a call with one image stays beside what it takes for several: there is room for one less.
	if most := room.images - 1; most < 2 {
		if c.One, err = perCall(ctx, s, 1, time.Second, pixels, look); err != nil {
			return nil, err
		}
		c.Many = c.One
	} else if err := c.tell(ctx, n, s, most, pixels, look); err != nil {
		return nil, err
	}
	c.solve(n.size)
	l := left{Of: n.leftKey(), Digest: n.digest, Layers: shares, When: c.When}
	if err := errors.Join(c.keep(), l.keep()); err != nil {
		o.Log.Warn("what was measured of the network is not kept for the next job", zap.String("network", n.cnn.Name), zap.Error(err))
	}
	return c, nil
}

// tell measures calls with one image and with several, as many as most at the most, which tell arithmetic from reading weights.
func (c *calibration) tell(ctx context.Context, n *network, s *ort.Session, most int, pixels []byte, look func(*ort.Runner) error) (err error) {
	if c.One, err = perCall(ctx, s, 1, 400*time.Millisecond, nil, nil); err != nil {
		return err
	}
	one, _ := machine.Resident()
	c.Batch = min(max(int(0.6/c.One), 2), 6, most)
	many, err := perCall(ctx, s, c.Batch, 600*time.Millisecond, pixels, look)
	if err != nil {
		return err
	}
	c.Many = many / float64(c.Batch)
	// The runtime keeps what a call has taken. What differs by much from the activations is no measurement but what
	// else the process has done meanwhile.
	now, _ := machine.Resident()
	if f := (now - one) / int64(c.Batch-1); f > n.size.ActiveBytes/2 && f < 8*n.size.ActiveBytes {
		c.Flight = f
	}
	return nil
}

// perCall is the time of the quickest call with so many images, in seconds: others on the machine make calls slower, and
// none makes one quicker. With pictures, the network sees those, and then hears of what it has made of them.
func perCall(ctx context.Context, s *ort.Session, images int, within time.Duration, pictures []byte, then func(*ort.Runner) error) (best float64, err error) {
	r, err := s.NewRunner(images)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	seen := pictures != nil && len(r.Input()) > 0 && len(pictures) >= len(r.Input()) // every image of the batch is one
	if seen {
		copy(r.Input(), pictures)
	}
	for i, begin := 0, time.Now(); i < 2 || time.Since(begin) < within; i++ {
		start := time.Now()
		if err := r.Run(ctx, images); err != nil {
			return 0, err
		}
		if took := time.Since(start).Seconds(); i == 1 || i > 1 && took < best { // the first one sets memory up
			best = took
		}
	}
	if seen {
		return best, then(r)
	}
	return best, nil
}

// slowestRead is the least bytes of weights that a core reads in a second.
const slowestRead = 3e9

// solve splits the time of an image into arithmetic and, once a call, reading the weights, which are guessed to be read at the usual
// rate where no call had several images.
func (c *calibration) solve(n vistaopt.Network) {
	last := n.Layers[len(n.Layers)-1]
	weights := float64(last.Weights) / vistaopt.DefaultRates().Weights
	if c.Batch > 1 {
		weights = max(c.One-c.Many, 0) / (1 - 1/float64(c.Batch))
	}
	// On a busy machine a call with one image may have been slow for other reasons: no core reads memory so slowly.
	weights = min(weights, float64(last.Weights)/slowestRead, 0.9*c.Many*float64(c.Batch))
	c.MACs = float64(last.MACs) / (c.Many - weights/float64(c.Batch))
	c.Weights = float64(last.Weights) / max(weights, 1e-6)
}

// keep writes a calibration where the next job finds it.
func (c *calibration) keep() error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return keepFile(calibrationFile(c.Network), b)
}
