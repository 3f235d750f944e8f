package run

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers/image"
)

// sampled is how many images a sample takes at most, from so many images on. Where nobody has looked at the files, for their paths are in
// the table, fewer are worth one.
const (
	sampled   = 16
	sampledOf = 8 * sampled
)

// keptSample is how many bytes of a sample are kept for the network to be run on.
const keptSample = 8 << 20

// sample is what a few of a job's images say of all. It is the same for the same images: plans may depend on all of it but the time.
type sample struct {
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

// decoding is what makes a network's input of image files, and the room for one of them.
func (n *network) decoding() (*image.Pipeline, []byte, error) {
	choice, err := extract.Decoder(os.Getenv(decoderVariable))
	if err != nil {
		return nil, nil, err
	}
	p, err := image.NewPipeline(n.image, choice)
	if err != nil {
		return nil, nil, err
	}
	return p, make([]byte, n.image.CropH*n.image.CropW*3), nil
}

// takeSample reads a few of a job's images, spread over all, and decodes them.
func takeSample(ctx context.Context, d *data, n *network) (_ *sample, err error) {
	p, dst, err := n.decoding()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	every, seen := max(d.stats.Images/sampled, 1), int64(-1)
	s := &sample{}
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
		if info, err := p.Process(dst, img.Data); err == nil { // a damaged one is a matter of the job
			bytes, took = bytes+size, took+time.Since(start)
			pixels += int64(info.W) * int64(info.H)
			s.decoded, s.decoding = s.decoded+1, max(s.decoding, info.Room)
			if kept+size <= keptSample {
				s.files, kept = append(s.files, img.Data), kept+size
			}
		} else {
			s.spoilt(img.From + ": " + err.Error())
		}
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
	p, dst, err := n.decoding()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for _, f := range s.files {
		if _, err := p.Process(dst, f); err == nil { // what one network can use, another one's sizes may refuse
			out = append(out, dst...)
		}
	}
	return out, nil
}

// learn adds what a sample says to what is known of a job's input.
func (d *data) learn(s *sample) {
	d.sample = s
	if d.images.Bytes == 0 && s.bytes > 0 {
		d.stats.ImageBytes = s.bytes
	}
	d.stats.Pixels, d.stats.Decoding = s.pixels, s.decoding
}
