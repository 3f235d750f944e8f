package synth

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// Shares of the label's variance; they add up to 1.
const (
	shareTable = 0.50
	shareImage = 0.42
	shareNoise = 0.08
)

// shape is one of the two kinds of data sets.
type shape struct {
	records int // default
	columns []string
	// draw fills one row's structured features and returns its score, of mean 0 and variance 1.
	draw func(r *rand.Rand, row []float64) float64
}

// look is what of the label a picture shows: each of mean 0 and variance 1.
type look struct {
	warmth, grain, crowd float64
}

// factor is the image factor v.
func (l look) factor() float64 {
	const a, b, c = 0.85, 0.5, 0.3
	return (a*l.warmth + b*l.grain + c*l.crowd) / math.Sqrt(a*a+b*b+c*c)
}

// record is one line of the data set before it is written.
type record struct {
	features []float64
	score    float64 // s
	look     look
	label    int
}

func shapeOf(name string) (*shape, error) {
	switch name {
	case "foods":
		return foods(), nil
	case "amazon":
		return amazon(), nil
	}
	return nil, &Error{"E-SYNTH-CONFIG", fmt.Sprintf("synth: unknown shape %q", name), "the shapes are foods and amazon"}
}

// Streams of random numbers, so that a change to the pictures leaves the table alone.
const (
	streamTable = iota + 1
	streamLabel
	streamPicture
	streamTexture
)

// random returns the generator of one stream of one record.
func random(seed uint64, stream, i int) *rand.Rand {
	h := mix(seed + mix(uint64(stream)))
	return rand.New(rand.NewPCG(mix(h^uint64(i)), mix(h+0x9E3779B97F4A7C15*uint64(i+1))))
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// record makes record i.
func (s *shape) record(seed uint64, i int) record {
	out := record{features: make([]float64, len(s.columns))}
	out.score = s.draw(random(seed, streamTable, i), out.features)
	r := random(seed, streamLabel, i)
	out.look = look{r.NormFloat64(), r.NormFloat64(), r.NormFloat64()}
	y := math.Sqrt(shareTable)*out.score + math.Sqrt(shareImage)*out.look.factor() + math.Sqrt(shareNoise)*r.NormFloat64()
	if y > 0 {
		out.label = 1
	}
	return out
}

// foodsBase are the nine base columns: name, typical value per 100 g, weight in the score.
var foodsBase = []struct {
	name    string
	typical float64
	weight  float64
}{
	{"energy_kcal", 0, 0}, // follows from the others
	{"fat_g", 8, -0.50},
	{"saturated_g", 3, -0.40},
	{"carbohydrates_g", 24, 0.10},
	{"sugars_g", 9, -0.45},
	{"fiber_g", 2.5, 0.45},
	{"protein_g", 7, 0.35},
	{"salt_g", 0.8, -0.30},
	{"sodium_mg", 0, 0}, // follows from salt
}

func foods() *shape {
	n := len(foodsBase)
	var columns []string
	for _, b := range foodsBase {
		columns = append(columns, b.name)
	}
	for i := range n {
		for j := i + 1; j < n; j++ {
			columns = append(columns, columns[i]+"_x_"+columns[j])
		}
	}
	for i := range n {
		for j := i + 1; j < n; j++ {
			for k := j + 1; k < n; k++ {
				columns = append(columns, columns[i]+"_x_"+columns[j]+"_x_"+columns[k])
			}
		}
	}
	columns = append(columns, "additives_n")
	return &shape{records: 20_000, columns: columns, draw: drawFoods}
}

func drawFoods(r *rand.Rand, row []float64) float64 {
	const spread = 0.45    // deviation of the logarithms
	const product = 0.25   // weight of fiber times sugars
	const additives = -0.3 // weight of the count
	n := len(foodsBase)
	var z [9]float64
	score, variance := 0.0, product*product+additives*additives
	for i, b := range foodsBase {
		z[i] = r.NormFloat64()
		row[i] = b.typical * math.Exp(spread*z[i])
		score += b.weight * z[i]
		variance += b.weight * b.weight
	}
	row[0] = (9*row[1] + 4*row[3] + 4*row[6] + 2*row[5]) * (1 + 0.05*z[0])
	row[8] = 393 * row[7] * (1 + 0.05*z[8])
	score += product * z[5] * z[4]
	at := n
	for i := range n {
		for j := i + 1; j < n; j++ {
			row[at] = row[i] * row[j]
			at++
		}
	}
	for i := range n {
		for j := i + 1; j < n; j++ {
			for k := j + 1; k < n; k++ {
				row[at] = row[i] * row[j] * row[k]
				at++
			}
		}
	}
	a := r.NormFloat64()
	row[at] = math.Max(0, math.Round(3+2*a))
	score += additives * a
	return score / math.Sqrt(variance)
}

const (
	amazonDoc    = 100
	amazonGroups = 11
	amazonTags   = 9
)

func amazon() *shape {
	columns := []string{"price"}
	for i := range amazonDoc {
		columns = append(columns, fmt.Sprintf("doc_%03d", i))
	}
	for g := range amazonGroups {
		for t := range amazonTags {
			columns = append(columns, fmt.Sprintf("cat_%02d_%d", g, t))
		}
	}
	return &shape{records: 200_000, columns: columns, draw: drawAmazon}
}

func drawAmazon(r *rand.Rand, row []float64) float64 {
	const price = -0.35
	clear(row)
	p := r.NormFloat64()
	row[0] = math.Round(math.Exp(3+0.6*p)*100) / 100
	score, variance := price*p, price*price
	for i := range amazonDoc {
		z := r.NormFloat64()
		row[1+i] = 0.1 * z
		if i%12 == 0 && i < 96 { // 8 dimensions that matter, with falling weights
			w := 0.6 / math.Sqrt(1+float64(i)/24)
			if i%24 == 0 {
				w = -w
			}
			score += w * z
			variance += w * w
		}
	}
	g := r.IntN(amazonGroups)
	for range 1 + r.IntN(3) {
		row[1+amazonDoc+g*amazonTags+r.IntN(amazonTags)] = 1
	}
	// Groups' effects are evenly spaced in [-0.6, 0.6]: mean 0, variance 0.36 (G+1) / (3 (G-1)).
	const reach = 0.6
	score += reach * (2*float64(g)/(amazonGroups-1) - 1)
	variance += reach * reach * (amazonGroups + 1) / (3 * (amazonGroups - 1))
	return score / math.Sqrt(variance)
}

// writeTable writes table.csv: id, the features, label; numbers with six significant digits. It returns
// how many labels are 1.
func writeTable(ctx context.Context, name string, c Config, s *shape) (positive int, err error) {
	tmp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".tmp")
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	f, err := os.Create(tmp)
	if err != nil {
		return 0, fmt.Errorf("synth: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<16)
	line := []byte("id")
	for _, n := range s.columns {
		line = append(append(line, ','), n...)
	}
	line = append(line, ",label\n"...)
	for i := 0; ; i++ {
		if _, err = w.Write(line); err != nil {
			break
		}
		if i == c.Records {
			break
		}
		if err = ctx.Err(); err != nil {
			break
		}
		r := s.record(c.Seed, i)
		positive += r.label
		line = append(line[:0], recordID(i)...)
		for _, v := range r.features {
			line = strconv.AppendFloat(append(line, ','), v, 'g', 6, 64)
		}
		line = append(line, ',', byte('0'+r.label), '\n')
	}
	if err == nil {
		err = w.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		return 0, fmt.Errorf("synth: table: %w", err)
	}
	return positive, nil
}
