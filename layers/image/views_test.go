package image

import (
	"bytes"
	"errors"
	"testing"
)

// views are pictures for networks that agree in nothing.
var views = []Spec{
	{Resize: 64, CropH: 56, CropW: 56, NoScaledDecode: true},
	{Resize: 40, CropH: 40, CropW: 40, Interpolation: "bicubic", ApplyEXIF: true, NoScaledDecode: true},
	{Stretch: true, CropH: 30, CropW: 50, NoScaledDecode: true},
	{CropH: 70, CropW: 70, FloorCrop: true, NoScaledDecode: true},
}

// destinations has room for the pictures that are asked for.
func destinations(specs []Spec, asked func(i int) bool) [][]byte {
	out := make([][]byte, len(specs))
	for i, s := range specs {
		if asked(i) {
			out[i] = bytes.Repeat([]byte{0xA5}, s.CropH*s.CropW*3)
		}
	}
	return out
}

func viewsOf(t *testing.T, specs []Spec) *Pipeline {
	t.Helper()
	p, err := NewViews(specs, Go)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestViews: several pictures of a source that is decoded once are those of as many pipelines, whatever the format.
func TestViews(t *testing.T) {
	all := viewsOf(t, views)
	var alone []*Pipeline
	for _, s := range views {
		alone = append(alone, pipeline(t, s, Go))
	}
	seen := map[string]bool{}
	for _, c := range goldenCases(t) {
		if seen[c.Source] {
			continue
		}
		seen[c.Source] = true
		src := readFile(t, c.Source)
		got := destinations(views, func(int) bool { return true })
		_, err := all.ProcessViews(got, src)
		for i, p := range alone {
			want := destinations(views, func(k int) bool { return k == i })[i]
			if _, one := p.Process(want, src); one != nil || err != nil {
				t.Fatalf("%s: %v, alone %v", c.Source, err, one)
			}
			if !bytes.Equal(got[i], want) {
				t.Errorf("%s: picture %d is not what it is alone", c.Source, i)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d sources", len(seen))
	}
}

// TestViewsAskedFor: which pictures are asked for changes none of them, also where some alone would be decoded at a
// fraction of their size and others would not.
func TestViewsAskedFor(t *testing.T) {
	specs := []Spec{{Resize: 16, CropH: 14, CropW: 14}, {Resize: 90, CropH: 80, CropW: 80}, {Resize: 20, CropH: 20, CropW: 20}}
	p := viewsOf(t, specs)
	src := readFile(t, "landscape.jpg")
	want := destinations(specs, func(int) bool { return true })
	if _, err := p.ProcessViews(want, src); err != nil {
		t.Fatal(err)
	}
	for i := range specs {
		got := destinations(specs, func(k int) bool { return k == i })
		if _, err := p.ProcessViews(got, src); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("picture %d differs when it is asked for alone", i)
		}
	}
}

// TestViewsRefuseTogether: what one network cannot take is bad for all, whichever is asked.
func TestViewsRefuseTogether(t *testing.T) {
	specs := []Spec{{Resize: 64, CropH: 56, CropW: 56}, {CropH: 5, CropW: 5, Exact: true}}
	p := viewsOf(t, specs)
	var bad *BadImage
	if _, err := p.ProcessViews(destinations(specs, func(i int) bool { return i == 0 }), readFile(t, "landscape.jpg")); !errors.As(err, &bad) || bad.Reason != ReasonWrongSize {
		t.Errorf("got %v", err)
	}
	if _, err := p.ProcessViews(nil, nil); err == nil || errors.As(err, &bad) {
		t.Errorf("no destinations: %v", err)
	}
	if _, err := NewViews(nil, Go); err == nil {
		t.Error("a pipeline for nothing")
	}
}
