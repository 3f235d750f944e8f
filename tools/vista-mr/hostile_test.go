//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	goimage "image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/vista-mr/vista-mr/layers/ort"
)

// trap is a file that asks for far more than it is, and what becomes of a job that is given it.
type trap struct {
	name string
	make func(t *testing.T) []byte
	file string   // where it lies
	set  []string // what a sound job is changed to
	run  string   // validate or submit
	code int
	want string // in what is printed
}

// TestHostileFiles gives the program files that are made to exhaust it, one for each reader, and holds it to what is
// promised of them: a clear error and its exit code, or a bad record among good ones; less than a GiB, less than 30 s.
func TestHostileFiles(t *testing.T) {
	if raced() {
		t.Skip("make test runs it without the race detector: the files themselves take minutes to make under it")
	}
	lib, err := ort.FindLibrary()
	if err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	const most, longest = int64(1 << 30), 30 * time.Second
	// What users run: the race detector would take several times the memory and the time that are promised here.
	program := filepath.Join(t.TempDir(), "vista-mr")
	if b, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	cache := t.TempDir()
	for _, c := range slices.Concat(jobTraps(), modelTraps(), tableTraps(), imageTraps(), pictureTraps()) {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			soundJob(t, dir)
			name := filepath.Join(dir, c.file)
			if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, c.make(t), 0o666); err != nil {
				t.Fatal(err)
			}
			args := []string{c.run, "job.yaml"}
			for _, s := range c.set {
				args = append(args, "--set", s)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "VISTA_MR_ORT_LIB="+lib, "VISTA_MR_CACHE="+cache, "NO_COLOR=1")
			var printed bytes.Buffer
			cmd.Stdout, cmd.Stderr = &printed, &printed
			start := time.Now()
			peak, err := watch(cmd)
			wall, out := time.Since(start), printed.Bytes()
			// The processor's time: these machines are shared.
			took := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			t.Logf("%v of processor time, %v by the clock, %d MiB: %.400s", took.Round(time.Millisecond), wall.Round(time.Millisecond), peak>>20, lastLines(out))
			if got := exitCode(err); got != c.code {
				t.Errorf("exit code %d, want %d\n%.2000s", got, c.code, out)
			}
			if bytes.Contains(out, []byte("goroutine ")) || bytes.Contains(out, []byte("panic")) || !strings.Contains(string(out), c.want) {
				t.Errorf("it says\n%.2000s\nwant %q", out, c.want)
			}
			if peak > most || took > longest {
				t.Errorf("it took %v and %d MiB", took, peak>>20)
			}
		})
	}
}

// watch runs a command and notes the most memory that it has had. What the kernel reports at its end would include
// this test's own, which it starts from.
func watch(cmd *exec.Cmd) (peak int64, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-tick.C:
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
			if err != nil {
				continue // it ends
			}
			if _, rest, ok := strings.Cut(string(b), "VmHWM:"); ok {
				kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
				if n, err := strconv.ParseInt(kib, 10, 64); err == nil {
					peak = max(peak, n<<10)
				}
			}
		}
	}
}

// raced tells whether the test is built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// soundJob writes 60 records with a small picture each, a small network, and a job over them.
func soundJob(t *testing.T, dir string) {
	t.Helper()
	write := func(name string, data []byte) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	table := "id,x,label\n"
	for i := range 60 {
		table += fmt.Sprintf("r%02d,%d,%d\n", i, i*7%13, i*i%7%2)
		m := goimage.NewGray(goimage.Rect(0, 0, 40, 36))
		for k := range m.Pix {
			m.Pix[k] = byte(k * (i + 1))
		}
		write(fmt.Sprintf("images/r%02d.png", i), pngOf(t, m))
	}
	write("table.csv", []byte(table))
	write("net.onnx", small().Marshal())
	write("job.yaml", []byte(`apiVersion: vista-mr/v1
name: hostile
table: {uri: table.csv, key: id, label: label}
images: {uri: images}
cnn: {model: net.onnx, layers: 1}
downstream: {iterations: 2}
limits: {maxBadFraction: 0.5}
output: out
`))
}

func pngOf(t *testing.T, m goimage.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func text(s string) func(*testing.T) []byte { return func(*testing.T) []byte { return []byte(s) } }

func jobTraps() []trap {
	laughs := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'm'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	return []trap{
		{name: "job of aliases", make: text(laughs), file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "job of brackets", make: text("name: " + strings.Repeat("[", 900_000)), file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "job of braces", make: text(strings.Repeat("{a: ", 200_000)), file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "job of zeros", make: func(*testing.T) []byte { return make([]byte, 64<<20) }, file: "job.yaml", run: "validate", code: 3, want: "E-JOB-FILE"},
		{name: "preprocessing of brackets", make: text(strings.Repeat("[", 8<<20)), file: "pre.json", set: []string{"cnn.preprocess=pre.json"}, run: "validate", code: 3, want: "E-PREPROCESS"},
	}
}

// gzipped packs the same bytes many times over: members of a gzip file follow each other, so they are packed once.
func gzipped(t *testing.T, head string, chunk []byte, times int) []byte {
	t.Helper()
	member := func(data []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(data)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	return append(member([]byte(head)), bytes.Repeat(member(chunk), times)...)
}

// avroFile is a container file with one block.
func avroFile(schema, codec string, records, size int64, block []byte) []byte {
	str := func(b []byte, s string) []byte { return append(binary.AppendVarint(b, int64(len(s))), s...) }
	b := append([]byte("Obj\x01"), 4)
	b = str(str(b, "avro.schema"), schema)
	b = append(str(str(b, "avro.codec"), codec), 0)
	sync := []byte("0123456789abcdef")
	b = append(b, sync...)
	b = binary.AppendVarint(binary.AppendVarint(b, records), size)
	return append(append(b, block...), sync...)
}

// deflated packs zeros, so many MiB of them.
func deflated(t *testing.T, mib int) []byte {
	t.Helper()
	var b bytes.Buffer
	f, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	for range mib {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// snappyClaim is a Snappy block that claims to unpack to 4 GiB, and holds nothing.
func snappyClaim() []byte {
	b := append(binary.AppendUvarint(nil, 1<<32-1), 0, 0)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(nil))
}

const (
	rowSchema   = `{"type":"record","name":"r","fields":[{"name":"id","type":"string"},{"name":"x","type":"double"},{"name":"label","type":"long"}]}`
	imageSchema = `{"type":"record","name":"r","fields":[{"name":"id","type":"string"},{"name":"image","type":"bytes"}]}`
	footerClaim = "PAR1\x49\xfc\xff\xff\xff\xff\x07\x07\x00\x00\x00PAR1" // a list of 2^31 row groups in seven bytes
)

type wideRow struct {
	ID    string  `parquet:"id,zstd"`
	X     float64 `parquet:"x"`
	Label int64   `parquet:"label"`
	Pad   string  `parquet:"pad,zstd"`
}

// parquetPage is a file with one page that unpacks to 320 MiB.
func parquetPage(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[wideRow](&b, parquet.PageBufferSize(1<<30), parquet.DataPageStatistics(false), parquet.SkipPageBounds("pad"))
	pad := strings.Repeat("p", 32<<20)
	for i := range 10 {
		if _, err := w.Write([]wideRow{{fmt.Sprintf("r%02d", i), 1, int64(i % 2), pad}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tableTraps() []trap {
	table := func(file string) []string { return []string{"table.uri=" + file} }
	rows := []byte(strings.Repeat("r00,"+strings.Repeat("0", 4000)+",0\n", 256)) // a thousandth, packed
	return []trap{
		{name: "csv.gz of a GiB", make: func(t *testing.T) []byte { return gzipped(t, "id,x,label\n", rows, 1024) }, file: "b.csv.gz", set: table("b.csv.gz"), run: "validate", code: 3, want: "unpack to more than"},
		{name: "csv.gz of one line", make: func(t *testing.T) []byte { return gzipped(t, "id,x,label\n", make([]byte, 1<<20), 1024) }, file: "b.csv.gz", set: table("b.csv.gz"), run: "validate", code: 3, want: "MiB"},
		{name: "csv of commas", make: text(strings.Repeat(",", 64<<20)), file: "b.csv", set: table("b.csv"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro deflate", make: func(t *testing.T) []byte {
			d := deflated(t, 2048)
			return avroFile(rowSchema, "deflate", 1<<20, int64(len(d)), d)
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro snappy", make: func(*testing.T) []byte {
			return avroFile(rowSchema, "snappy", 1, int64(len(snappyClaim())), snappyClaim())
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro block of 8 EiB", make: func(*testing.T) []byte { return avroFile(rowSchema, "null", 1<<62, 1<<62, nil) }, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro schema in schema", make: func(*testing.T) []byte {
			s := strings.Repeat(`{"type":"array","items":`, 60_000) + `"int"` + strings.Repeat("}", 60_000)
			return avroFile(`{"type":"record","name":"r","fields":[{"name":"id","type":`+s+`}]}`, "null", 1, 1, []byte{0})
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "parquet footer", make: text(footerClaim), file: "b.parquet", set: table("b.parquet"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "parquet page", make: parquetPage, file: "b.parquet", set: append(table("b.parquet"), "table.categorical=[pad]"), run: "validate", code: 3, want: "E-TABLE"},
	}
}

// hugeMember is an archive whose member says that it has more bytes than there are.
func hugeMember(size string) func(t *testing.T) []byte {
	return func(t *testing.T) []byte {
		t.Helper()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "r00.png", Size: 3, Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		head := b.Bytes()[:512]
		copy(head[124:136], size)
		copy(head[148:156], "        ")
		sum := 0
		for _, v := range head {
			sum += int(v)
		}
		copy(head[148:156], fmt.Sprintf("%06o\x00 ", sum))
		return b.Bytes()
	}
}

func imageTraps() []trap {
	images := func(file string) []string { return []string{"images.uri=" + file} }
	return []trap{
		{name: "tar member of 8 GiB", make: hugeMember("77777777777\x00"), file: "i.tar", set: images("i.tar"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "tar member of 8 EiB", make: hugeMember("\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"), file: "i.tar", set: images("i.tar"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "images in avro deflate", make: func(t *testing.T) []byte {
			d := deflated(t, 2048)
			return avroFile(imageSchema, "deflate", 1<<20, int64(len(d)), d)
		}, file: "i.avro", set: images("i.avro"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "images in avro snappy", make: func(*testing.T) []byte {
			return avroFile(imageSchema, "snappy", 1, int64(len(snappyClaim())), snappyClaim())
		}, file: "i.avro", set: images("i.avro"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "images in parquet footer", make: text(footerClaim), file: "i.parquet", set: images("i.parquet"), run: "validate", code: 3, want: "E-IMAGES"},
	}
}

// withSize changes what a picture's header says of its size.
func withSize(b []byte, at int, order binary.ByteOrder, w, h uint32, wide bool) []byte {
	if wide {
		order.PutUint32(b[at:], w)
		order.PutUint32(b[at+4:], h)
	} else {
		order.PutUint16(b[at:], uint16(w))
		order.PutUint16(b[at+2:], uint16(h))
	}
	return b
}

// pictureTraps are single pictures: each is one bad record, or a good one that is large.
func pictureTraps() []trap {
	picture := func(name, want string, file string, make func(t *testing.T) []byte) trap {
		return trap{name: "picture " + name, make: make, file: "images/" + file, run: "submit", code: 0, want: want}
	}
	jpegOf := func(t *testing.T, side int) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := jpeg.Encode(&b, goimage.NewYCbCr(goimage.Rect(0, 0, side, side), goimage.YCbCrSubsampleRatio444), nil); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	return []trap{
		picture("jpeg of 65500x65500", "60 images, 59 matched, 1 bad", "r00.png", func(t *testing.T) []byte {
			b := jpegOf(t, 16)
			return withSize(b, bytes.Index(b, []byte{0xFF, 0xC0})+5, binary.BigEndian, 65500, 65500, false)
		}),
		picture("png of 2^31 x 2^31", "60 images, 59 matched, 1 bad", "r00.png", func(t *testing.T) []byte {
			b := withSize(pngOf(t, goimage.NewGray(goimage.Rect(0, 0, 2, 2))), 16, binary.BigEndian, 1<<31-1, 1<<31-1, true)
			binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
			return b
		}),
		picture("png that is as large as it says", "", "r00.png", func(t *testing.T) []byte {
			return pngOf(t, goimage.NewNRGBA64(goimage.Rect(0, 0, 6900, 6900)))
		}),
		picture("jpeg that is as large as it says", "", "r00.png", func(t *testing.T) []byte { return jpegOf(t, 6900) }),
		picture("png with more pixels than rows", "", "r00.png", func(t *testing.T) []byte {
			var z bytes.Buffer
			w := zlib.NewWriter(&z)
			for range 1024 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			b := pngOf(t, goimage.NewGray(goimage.Rect(0, 0, 2, 2)))
			out := slices.Clone(b[:33])
			data := append([]byte("IDAT"), z.Bytes()...)
			out = binary.BigEndian.AppendUint32(out, uint32(z.Len()))
			out = append(out, data...)
			out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(data))
			return append(out, b[len(b)-12:]...)
		}),
		picture("gif of 65535x65535", "60 images, 59 matched, 1 bad", "r00.png", text("GIF89a\xff\xff\xff\xff\x80\x00\x00\x0a\x14\x1e\xc8\x64\x32,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x04\x8c\x2d\x99\x87\x00;")),
		picture("bmp of 2^30 x 2^30", "60 images, 59 matched, 1 bad", "r00.png", func(*testing.T) []byte {
			b := append([]byte("BM"), make([]byte, 60)...)
			b[10], b[14], b[26], b[28] = 54, 40, 1, 24
			return withSize(b, 18, binary.LittleEndian, 1<<30, 1<<30, true)
		}),
		picture("webp of 16384x16384", "60 images, 59 matched, 1 bad", "r00.png", text("RIFF\x1e\x00\x00\x00WEBPVP8L\x11\x00\x00\x00\x2f\xff\xff\xff\x0f\x00\x07\x10\xfd\x8f\xfe\x07\x22\xa2\xff\x01\x00\x00")),
		picture("tiff of the same strip", "60 images, 59 matched, 1 bad", "r00.png", func(t *testing.T) []byte {
			b, err := os.ReadFile("../../layers/image/testdata/odd/huge-tiles.tiff")
			if err != nil {
				t.Fatal(err)
			}
			return b
		}),
		picture("palette of nothing", "", "r00.png", func(t *testing.T) []byte {
			return pngOf(t, goimage.NewPaletted(goimage.Rect(0, 0, 1, 4000), color.Palette{color.Black}))
		}),
	}
}
