package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"image"
	"io"
	"strconv"
	"strings"
)

// side of a digit's picture, in pixels.
const side = 28

// digit is one picture: grey values row by row, white on black.
type digit struct {
	index  int // line in the file, from 0
	label  int
	pixels [side * side]byte
}

// Bounds on the file: it has 5,000 lines of less than 4 KiB.
const (
	maxDigits = 100_000
	maxText   = 512 << 20
)

// readDigits reads lines of 784 grey values and the digit, gzipped.
func readDigits(gz []byte) ([]digit, error) {
	z, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return nil, err
	}
	var out []digit
	lines := bufio.NewScanner(io.LimitReader(z, maxText))
	for lines.Scan() {
		d := digit{index: len(out)}
		cells := strings.Split(lines.Text(), ",")
		if len(cells) != len(d.pixels)+1 {
			return nil, fmt.Errorf("line %d has %d cells, want %d", len(out)+1, len(cells), len(d.pixels)+1)
		}
		for i, c := range cells {
			v, err := strconv.ParseUint(c, 10, 8)
			if err != nil || i == len(d.pixels) && v > 9 {
				return nil, fmt.Errorf("line %d, cell %d: %q is no grey value or digit", len(out)+1, i+1, c)
			}
			if i < len(d.pixels) {
				d.pixels[i] = byte(v)
			} else {
				d.label = int(v)
			}
		}
		if out = append(out, d); len(out) > maxDigits {
			return nil, fmt.Errorf("more than %d lines", maxDigits)
		}
	}
	return out, lines.Err()
}

// sample takes the first n/10 of each digit.
func sample(all []digit, n int) ([]digit, error) {
	if n < 10 || n%10 != 0 {
		return nil, fmt.Errorf("%d records: a multiple of 10 is needed, as many of each digit", n)
	}
	var out []digit
	var taken [10]int
	for _, d := range all {
		if taken[d.label] < n/10 {
			taken[d.label]++
			out = append(out, d)
		}
	}
	if len(out) < n {
		return nil, fmt.Errorf("%d records are asked for, the package has %d of the digits that are needed", n, len(out))
	}
	return out, nil
}

// columns of the table beside id and label.
var columns = []string{"ink", "width", "height", "center_x", "center_y"}

// measure is what the table says of a picture: the mean grey value, the size of the box around everything
// that is brighter than half, and the centre of mass, all in pixels or shares.
func (d *digit) measure() []float64 {
	var sum, sx, sy float64
	box := image.Rectangle{}
	for i, v := range d.pixels {
		x, y := i%side, i/side
		sum += float64(v)
		sx += float64(v) * float64(x)
		sy += float64(v) * float64(y)
		if v > 127 {
			box = box.Union(image.Rect(x, y, x+1, y+1))
		}
	}
	if sum == 0 {
		return make([]float64, len(columns))
	}
	return []float64{sum / 255 / float64(len(d.pixels)), float64(box.Dx()), float64(box.Dy()), sx / sum, sy / sum}
}

// picture is the digit as an image.
func (d *digit) picture() *image.Gray {
	return &image.Gray{Pix: d.pixels[:], Stride: side, Rect: image.Rect(0, 0, side, side)}
}
