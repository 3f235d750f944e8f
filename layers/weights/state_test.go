package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stateFile is an entry of testdata/index.json, written by tools/goldens/weights.py.
type stateFile struct {
	Tensors map[string]struct {
		Shape  []int64
		Values []float64
	}
	Path, Error string
}

func stateFiles(t testing.TB) map[string]stateFile {
	t.Helper()
	b, err := os.ReadFile("testdata/index.json")
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Files map[string]stateFile }
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Files) < 18 {
		t.Fatalf("index lists %d files", len(index.Files))
	}
	return index.Files
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestState reads what torch.save writes: every tensor bit by bit, or the refusal.
func TestState(t *testing.T) {
	for name, want := range stateFiles(t) {
		f, err := Read(readFile(t, name))
		if want.Error != "" {
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Error(), want.Error) || e.Hint() == "" {
				t.Errorf("%s: got %v, want a refusal with %q", name, err, want.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.Format != "PyTorch" || f.Path != want.Path || len(f.Tensors) != len(want.Tensors) {
			t.Errorf("%s: %s under %q with %d tensors, want %q with %d", name, f.Format, f.Path, len(f.Tensors), want.Path, len(want.Tensors))
		}
		for key, w := range want.Tensors {
			x := f.Tensors[key]
			if !slices.Equal(x.Dims, w.Shape) {
				t.Errorf("%s: %s has the shape %v, want %v", name, key, x.Dims, w.Shape)
				continue
			}
			if strings.HasSuffix(key, "num_batches_tracked") {
				if x.Type != "I64" {
					t.Errorf("%s: %s is %s", name, key, x.Type)
				}
				continue
			}
			b, err := x.float32s()
			if err != nil {
				t.Errorf("%s: %s: %v", name, key, err)
				continue
			}
			if got := floats(b); !slices.Equal(got, w.Values) {
				t.Errorf("%s: %s is %v, want %v", name, key, got, w.Values)
			}
		}
	}
}

// TestStateDamaged cuts and bends files at every place: an error or the same tensors, never a panic.
func TestStateDamaged(t *testing.T) {
	for _, name := range []string{"plain.pth", "old.pth", "checkpoint.pth"} {
		data := readFile(t, name)
		for i := 0; i < len(data); i += 3 {
			if f, err := Read(data[:i]); err == nil {
				t.Errorf("%s: %d of %d bytes gave %d tensors", name, i, len(data), len(f.Tensors))
			}
			bent := slices.Clone(data)
			bent[i] ^= 0x41
			if _, err := Read(bent); err != nil && !errors.As(err, new(*Error)) {
				t.Errorf("%s: byte %d: %T", name, i, err)
			}
		}
	}
	data := readFile(t, "plain.pth")
	at := bytes.Index(data, binary.LittleEndian.AppendUint32(nil, math.Float32bits(2.875))) // the last of f32
	data[at] ^= 1
	if _, err := Read(data); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a bent number: %v", err)
	}
}

// pickled is a file of the older format with the given pickle as its object and no storages.
func pickled(object string) []byte {
	return []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02" + object + ".\x80\x02].")
}

// TestHostilePickles: what real writers never do is refused with its cause, soon and without memory.
func TestHostilePickles(t *testing.T) {
	storage := "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\xff\xff\xff\x7ftQ"
	tensor := func(storage, offset, size, stride string) string {
		return "}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + "\x89N" + "tRs"
	}
	for name, c := range map[string]struct{ object, want string }{
		"a program":         {"cos\nsystem\nX\x04\x00\x00\x00true\x85R", "os.system"},
		"a class":           {"cbuiltins\neval\n)\x81", "builtins.eval"},
		"an instance":       {"(ios\nsystem\n", "operation 0x69"},
		"an extension":      {"\x82\x01", "operation 0x82"},
		"too short":         {"X\xff\xff\xff\x7fabc", "ends at byte"},
		"long text":         {"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "ends at byte"},
		"no value":          {"0", "not there"},
		"no mark":           {"N}u", "no mark"},
		"the mark as value": {"(0", "not there"},
		"unknown memo":      {"h\x07", "value 7"},
		"text as function":  {"X\x01\x00\x00\x00f)R", "calls a string"},
		"odd items":         {"}(Nu", "fills"},
		"a tuple filled":    {")Na", "fills"},
		"a line no end":     {"c" + strings.Repeat("x", 300), "line without end"},
		"no UTF-8":          {"X\x01\x00\x00\x00\xff", "UTF-8"},
		"no storage":        {tensor("N", "K\x00", "K\x01\x85", "K\x01\x85"), "odd values"},
		"storage missing":   {tensor(storage, "K\x00", "K\x01\x85", "K\x01\x85"), "reaches to element 0"},
		"negative offset":   {tensor(storage, "J\xff\xff\xff\xff", "K\x01\x85", "K\x01\x85"), "odd values"},
		"negative stride":   {tensor(storage, "K\x00", "K\x02\x85", "J\xff\xff\xff\xff\x85"), "odd values"},
		"ranks differ":      {tensor(storage, "K\x00", "K\x02\x85", ")"), "odd values"},
		"a huge shape": {tensor(storage, "K\x00", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86",
			"K\x00K\x00\x86"), "has the shape"},
		"a huge stride": {tensor(storage, "K\x00", "K\x03\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"), "has the shape"},
		"no end":        {strings.Repeat("}", 1000) + "NNN\x85\x85\x85", "no dictionary"},
	} {
		_, err := Read(pickled(c.object))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), c.want) || e.ErrorID() != "E-WEIGHTS" || e.Hint() == "" {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := Read(pickled(strings.Repeat("N0", maxOps))); err == nil || !strings.Contains(err.Error(), "operations") {
		t.Errorf("endless operations: %v", err)
	}
	// One number that says that it is a matrix of 2^20: the file would not tell how much memory its reader needs.
	one := strings.Replace(storage, "J\xff\xff\xff\x7f", "K\x01", 1)
	wide := pickled(tensor(one, "K\x00", "M\x00\x04M\x00\x04\x86", "K\x00K\x00\x86"))
	wide = append(wide[:len(wide)-1], "X\x01\x00\x00\x000a.\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80?"...)
	if _, err := Read(wide); err == nil || !strings.Contains(err.Error(), "has 1048576 elements") {
		t.Errorf("an expanded tensor: %v", err)
	}
	// A dictionary that holds itself, and one that holds another many times over, down many levels.
	if _, err := Read(pickled("}q\x00X\x0a\x00\x00\x00state_dicth\x00s")); err == nil || !strings.Contains(err.Error(), "no dictionary") {
		t.Errorf("a dictionary inside itself: %v", err)
	}
	laughs := "}q\x00"
	for i := range 60 {
		laughs += "}q" + string(rune(i+1)) + "("
		for _, key := range wrappers {
			laughs += "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(key)))) + key + "h" + string(rune(i))
		}
		laughs += "u"
	}
	if _, err := Read(pickled(laughs)); err == nil || !strings.Contains(err.Error(), "no dictionary") {
		t.Errorf("a billion dictionaries: %v", err)
	}
}

// TestHostileArchives: directories that promise more than there is.
func TestHostileArchives(t *testing.T) {
	good := readFile(t, "plain.pth")
	end := bytes.LastIndex(good, []byte("PK\x05\x06"))
	wide := bytes.LastIndex(good, []byte("PK\x06\x06"))
	first := bytes.Index(good, []byte("PK\x01\x02"))
	if wide < 0 || first < 0 {
		t.Fatal("torch.save no longer writes a 64-bit directory")
	}
	for name, bend := range map[string]func(b []byte){
		"count":     func(b []byte) { binary.LittleEndian.PutUint64(b[wide+32:], math.MaxUint64) },
		"size":      func(b []byte) { binary.LittleEndian.PutUint64(b[wide+40:], math.MaxUint64) },
		"place":     func(b []byte) { binary.LittleEndian.PutUint64(b[wide+48:], math.MaxUint64-5) },
		"locator":   func(b []byte) { binary.LittleEndian.PutUint64(b[end-12:], math.MaxUint64-20) },
		"more":      func(b []byte) { binary.LittleEndian.PutUint64(b[wide+32:], 100) },
		"method":    func(b []byte) { b[first+10] = 8 },
		"encrypted": func(b []byte) { b[first+8] |= 1 },
		"length":    func(b []byte) { copy(b[first+20:], "\xff\xff\xff\x7f\xff\xff\xff\x7f") },
		"64 bits":   func(b []byte) { copy(b[first+20:], "\xff\xff\xff\xff\xff\xff\xff\xff") },
		"local":     func(b []byte) { copy(b[first+42:], "\xf0\xff\xff\x7f") },
		"name":      func(b []byte) { copy(b[first+28:], "\xff\xff") },
	} {
		b := slices.Clone(good)
		bend(b)
		if _, err := Read(b); !errors.As(err, new(*Error)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadUnknown(t *testing.T) {
	for content, want := range map[string]string{"\x89HDF\r\n": "Keras", "": "is empty", "hello": "begins with", "\x80\x02}.": "begins with"} {
		if _, err := Read([]byte(content)); err == nil || !strings.Contains(err.Error()+err.(*Error).Hint(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// FuzzState: no bytes make the reader panic, run for long or return tensors that do not fit their shapes.
func FuzzState(f *testing.F) {
	for name := range stateFiles(f) {
		f.Add(readFile(f, name))
	}
	f.Add(pickled("cos\nsystem\nX\x04\x00\x00\x00true\x85R"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Read(data)
		if err != nil {
			if !errors.As(err, new(*Error)) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		for name, x := range file.Tensors {
			p := Param{Name: name, Dims: x.Dims}
			if p.Len() > 1<<16 {
				continue // a network would not want it
			}
			if b, err := x.float32s(); err == nil && int64(len(b)) != 4*p.Len() {
				t.Fatalf("%s: %v with %d bytes", name, x.Dims, len(b))
			}
		}
	})
}
