package run

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// sampled is how many images a sample takes at most, from so many images on. Where nobody has looked at the files, for their paths are in
// the table, fewer are worth one.
const (
	sampled   = 16
	sampledOf = 8 * sampled
)

// keptSample is how many bytes of a sample are kept for the network to be run on.
const keptSample = 8 << 20

// large is from how many bytes on what a picture took is given back before the next one is decoded: garbage may be as much again.
const large = 16 << 20

// sample is what a few of a job's images say of all. It is the same for the same images and memory: plans may depend on all of it but
// the time.
type sample struct {
	room     int64    // bytes that a picture may take while it is decoded
	bad      int64    // images that cannot be had, or not be decoded
	first    string   // what is wrong with the first of those
	decoded  int      // the others
	decode   float64  // bytes of image files that a core decodes in a second; 0: none of them could be decoded
	bytes    int64    // of a file, on average; 0: there were none
	pixels   int64    // of a picture, on average; 0: none of them could be decoded
	decoding int64    // the most that one took while it was decoded, in bytes
	empty    bool     // there were files, and no bytes in them
	files    [][]byte // some that can be decoded
}

// sampleRoom is what a picture of a sample may take, in bytes: within the memory of this process, of which a tracker's driver has its part of what
// the tracker keeps back, and within what a job may take of it.
func sampleRoom(j *conf.Job, m vistaopt.Machine) int64 {
	memory := machine.Memory()
	if of := limited(j, m).Memory; of > 0 {
		memory = min(memory, of)
	}
	if m.Tracker.Memory > 0 {
		memory = min(memory, m.Tracker.Driver())
	}
	return vistaopt.Alone(memory, images.MaxImage)
}

// decoding is what makes a network's input of image files, which take so much room at most, and the place for one.
func (n *network) decoding(room int64) (*image.Pipeline, []byte, error) {
	choice, err := extract.Decoder(os.Getenv(decoderVariable))
	if err != nil {
		return nil, nil, err
	}
	p, err := image.NewPipeline(n.image, choice)
	if err != nil {
		return nil, nil, err
	}
	p.Share(image.NewGate(room))
	return p, make([]byte, n.image.CropH*n.image.CropW*3), nil
}

// takeSample reads a few of a job's images, spread over all, and decodes them as far as there is room.
func takeSample(ctx context.Context, d *data, n *network, room int64) (_ *sample, err error) {
	p, dst, err := n.decoding(room)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	every, seen := max(d.stats.Images/sampled, 1), int64(-1)
	s := &sample{room: room}
	var files, all, bytes, pixels, kept int64
	var took time.Duration
	for img, err := range d.images.All(ctx, stores(), func([]byte) bool { seen++; return seen%every == 0 }) {
		if err != nil {
			return nil, err
		}
		if img.Data == nil {
			if img.Bad != nil && img.From != "" { // else the listing has said it, or nobody has asked for it
				s.spoilt(img.Bad.Error)
			}
			continue
		}
		size := int64(len(img.Data))
		files, all = files+1, all+size
		start := time.Now()
		info, err := p.Process(dst, img.Data)
		if err == nil { // a damaged one is a matter of the job, and so is one that is too large
			bytes, took = bytes+size, took+time.Since(start)
			pixels += int64(info.W) * int64(info.H)
			s.decoded, s.decoding = s.decoded+1, max(s.decoding, info.Room)
			if kept+size <= keptSample {
				s.files, kept = append(s.files, slices.Clone(img.Data)), kept+size
			}
		} else {
			s.spoilt(img.From + ": " + err.Error())
		}
		giveBack(info)
		if files == sampled {
			break
		}
	}
	if files > 0 {
		s.bytes, s.empty = max(all/files, 1), all == 0
	}
	if s.decoded > 0 && took > 0 {
		s.decode, s.pixels = float64(bytes)/took.Seconds(), max(pixels/int64(s.decoded), 1)
	}
	return s, nil
}

// pictures are those of a sample as a network takes them, one behind the other; none of a sample that there is not.
func (s *sample) pictures(n *network) (out []byte, err error) {
	if s == nil {
		return nil, nil
	}
	p, dst, err := n.decoding(s.room)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for _, f := range s.files {
		info, err := p.Process(dst, f)
		if err == nil { // what one network can use, another one's sizes may refuse
			out = append(out, dst...)
		}
		giveBack(info)
	}
	return out, nil
}

// giveBack gives back what a large picture has taken. The collector would come for it while the next one is being decoded.
func giveBack(of image.Info) {
	if of.Room >= large {
		debug.FreeOSMemory()
	}
}

// learn adds what a sample says to what is known of a job's input.
func (d *data) learn(s *sample) {
	d.sample = s
	if d.images.Bytes == 0 && s.bytes > 0 {
		d.stats.ImageBytes = s.bytes
	}
	d.stats.Pixels, d.stats.Decoding = s.pixels, s.decoding
}
