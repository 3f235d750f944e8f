package weights

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tensorFile is what the index says of a safetensors file: see tools/goldens/tensors.py.
type tensorFile struct {
	Library bool   // the safetensors library reads it
	Error   string // a part of the message that refuses it
	Tensors map[string]struct {
		Type   string
		Shape  []int64
		Values []float64
	}
}

func tensorFiles(t testing.TB) map[string]tensorFile {
	t.Helper()
	var index struct{ Files map[string]tensorFile }
	if err := json.Unmarshal(readFile(t, "safetensors/index.json"), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Files) < 25 {
		t.Fatalf("the index lists %d files", len(index.Files))
	}
	return index.Files
}

// TestSafetensorsFiles reads what the safetensors library writes, and gives its tensors the values that they have there.
func TestSafetensorsFiles(t *testing.T) {
	for name, want := range tensorFiles(t) {
		f, err := Read(readFile(t, filepath.Join("safetensors", name)))
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
		if len(f.Tensors) != len(want.Tensors) {
			t.Errorf("%s: %d tensors, want %d", name, len(f.Tensors), len(want.Tensors))
		}
		for key, w := range want.Tensors {
			x, ok := f.Tensors[key]
			if !ok || x.Type != w.Type || !slices.Equal(x.Dims, w.Shape) || int64(len(x.Data)) != widths[x.Type]*int64(len(w.Values)) {
				t.Errorf("%s: %q is %s%v in %d bytes, want %s%v", name, key, x.Type, x.Dims, len(x.Data), w.Type, w.Shape)
				continue
			}
			b, err := x.float32s()
			if err != nil {
				continue // of a type that no network's parameters have
			}
			if got := floats(b); !slices.Equal(got, w.Values) {
				t.Errorf("%s: %q is %v, want %v", name, key, got, w.Values)
			}
		}
	}
}
