package extract

import (
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// three are programs of three networks: two that take the same of an image, and one that takes it at half the size.
func three(p *Params) {
	p.Programs = []Program{program("d", "a", side, 0), program("f", "b", side, 0), program("e", "c", side/2, 1)}
	p.Images = append(p.Images, image.Spec{Resize: side / 2, CropH: side / 2, CropW: side / 2, MaxBytes: 4000})
}

// Several networks see each image, which is decoded once, and all channels have the same keys in the same order.
func TestSeveralPrograms(t *testing.T) {
	for _, less := range []int{0, 1, 3} { // what fits into the third one's memory
		c, m, err := runFolder(t, &colours{most: 99, less: less}, three)
		if err != nil {
			t.Fatal(err)
		}
		// Seven were read: one is no image, and one is longer than is read, which is noticed before.
		for name, want := range map[string]int64{"images": 9, "matched": 5, Decodes: 6, "decoder.go": 5, "cnn.images": 15, "bad": 4} {
			if got := m.Sum(name); got != want {
				t.Errorf("%s: %d, want %d", name, got, want)
			}
		}
		if halved := m.Sum("batch.halved"); (halved > 0) != (less > 0) {
			t.Errorf("with room for %d, batches were halved %d times", less, halved)
		}
		for _, layer := range []string{"a", "b", "c"} {
			lines, err := c.Records(t.Context(), m, Pooled(layer))
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range lines {
				key, value, _ := strings.Cut(l, "=")
				if v, err := ReadVector(nil, []byte(value)); err != nil || key != "k"+string(rune('0'+i)) || !slices.Equal(v, []float32{float32(10 * i), 20, 30}) {
					t.Errorf("%s of %s, record %d: %v, %v", layer, key, i, v, err)
				}
			}
			if len(lines) != 5 {
				t.Errorf("%s: %d records", layer, len(lines))
			}
		}
	}
}

// An image that one of the job's networks cannot take is bad in every phase, whichever runs there.
func TestWhatOneRefusesIsBadForAll(t *testing.T) {
	for i := range 2 {
		_, m, err := runFolder(t, &colours{most: 99}, func(p *Params) {
			three(p)
			p.Images = append(p.Images, image.Spec{CropH: 1, CropW: 1, Exact: true})
			p.Programs = p.Programs[i : i+1]
		})
		if err != nil {
			t.Fatal(err)
		}
		if m.Sum("matched") != 0 || m.Sum("bad."+image.ReasonWrongSize) != 5 || m.Sum("cnn.images") != 0 {
			t.Errorf("program %d alone: counters %v", i, m.Tasks[0].Counters)
		}
	}
}

// Features of one network that are no numbers set the record aside for all of them.
func TestNotFiniteInOneOfSeveral(t *testing.T) {
	c, m, err := runFolder(t, &colours{most: 99, less: 99, spoiled: true}, func(p *Params) {
		three(p)
		p.Programs, p.Aside = p.Programs[1:], true
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, third := len(c.Sorted(t, m, Pooled("b"))), len(c.Sorted(t, m, Pooled("c"))); b != 3 || third != 3 || m.Sum("bad.not-finite") != 2 {
		t.Errorf("%d and %d records, counters %v", b, third, m.Tasks[0].Counters)
	}
}

func TestProgramsMustFitTheSource(t *testing.T) {
	for name, change := range map[string]func(*Params){
		"none":              func(p *Params) { p.Programs = nil },
		"no such image":     func(p *Params) { p.Programs[0].Image = 1 },
		"several of volume": func(p *Params) { three(p); p.Source, p.Input = Volume, "rows" },
		"unlike":            func(p *Params) { p.Programs = append(p.Programs, program("e", "c", side+1, 0)) },
	} {
		if _, _, err := runFolder(t, &colours{most: 99}, change); err == nil || errs.KindOf(err) == errs.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}
