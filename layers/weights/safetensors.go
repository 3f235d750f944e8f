package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// maxHeader bounds the header of a safetensors file. A tensor takes about 100 bytes of it.
const maxHeader = 16 << 20

// maxTensors bounds the entries of a header.
const maxTensors = 1 << 17

// isSafetensors says whether data begins as a safetensors file does: the header's length in 8 bytes,
// little-endian, then a JSON object.
func isSafetensors(data []byte) bool {
	return len(data) > 9 && binary.LittleEndian.Uint64(data) <= uint64(len(data)-8) && data[8] == '{'
}

type entry struct {
	Type    string  `json:"dtype"`
	Dims    []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"`
}

var widths = map[string]int64{"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
	"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}

// readSafetensors reads a safetensors file: 8 bytes with the header's length n, little-endian; n bytes of JSON, an
// object from tensor name to {dtype, shape, data_offsets: [begin, end]}, offsets counted from the end of
// the header, plus free text under __metadata__; then the tensors, row-major and little-endian. Tensors
// must lie inside the file, fit their shapes and not overlap. Data refers to data; nothing is copied.
func readSafetensors(data []byte) (map[string]Tensor, error) {
	if len(data) < 8 {
		return nil, broken("%d bytes are no safetensors file", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader || n > uint64(len(data)-8) {
		return nil, broken("the header would have %d bytes, the file has %d in all", n, len(data))
	}
	header, body := data[8:8+n], data[8+n:]
	entries, err := decodeHeader(header)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Tensor, len(entries))
	type span struct {
		from, to int64
		name     string
	}
	var spans []span
	for name, e := range entries {
		width, ok := widths[e.Type]
		if !ok {
			return nil, broken("tensor %q has the unknown type %q", name, e.Type)
		}
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1] > int64(len(body)) {
			return nil, broken("tensor %q lies at %v, the file holds %d bytes of tensors", name, e.Offsets, len(body))
		}
		from, to := e.Offsets[0], e.Offsets[1]
		size := width
		for _, d := range e.Dims {
			if d < 0 || d > 0 && size > (1<<50)/d {
				return nil, broken("tensor %q has the shape %v", name, e.Dims)
			}
			size *= d
		}
		if size != to-from {
			return nil, broken("tensor %q has %d bytes, shape %v of %s asks for %d", name, to-from, e.Dims, e.Type, size)
		}
		out[name] = Tensor{Type: e.Type, Dims: e.Dims, Data: body[from:to:to]}
		if from != to {
			spans = append(spans, span{from, to, name})
		}
	}
	slices.SortFunc(spans, func(a, b span) int {
		if a.from != b.from {
			return int(min(max(a.from-b.from, -1), 1))
		}
		return bytes.Compare([]byte(a.name), []byte(b.name))
	})
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return nil, broken("tensors %q and %q overlap", spans[i-1].name, spans[i].name)
		}
	}
	return out, nil
}

// decodeHeader reads the JSON object entry by entry, so that a name given twice is found.
func decodeHeader(header []byte) (map[string]entry, error) {
	dec := json.NewDecoder(bytes.NewReader(header))
	bad := func(err error) error { return broken("the header is no valid JSON: %v", err) }
	tok, err := dec.Token()
	if err != nil {
		return nil, bad(err)
	}
	if tok != json.Delim('{') {
		return nil, broken("the header is no JSON object")
	}
	out := map[string]entry{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, bad(err)
		}
		name, _ := tok.(string)
		if name == "__metadata__" {
			var free map[string]string
			if err := dec.Decode(&free); err != nil {
				return nil, bad(err)
			}
			continue
		}
		var e entry
		if err := dec.Decode(&e); err != nil {
			return nil, broken("tensor %q: %v", name, err)
		}
		if len(e.Dims) > maxRank {
			return nil, broken("tensor %q has %d dimensions", name, len(e.Dims))
		}
		if _, twice := out[name]; twice {
			return nil, broken("tensor %q is there twice", name)
		}
		if out[name] = e; len(out) > maxTensors {
			return nil, broken("more than %d tensors", maxTensors)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad(err)
	}
	return out, nil
}

// Write writes a safetensors file with tensors in the order of names. Read reads it.
func Write(w io.Writer, names []string, tensors map[string]Tensor) error {
	var header bytes.Buffer
	header.WriteByte('{')
	var at int64
	for i, name := range names {
		t, ok := tensors[name]
		if !ok {
			return fmt.Errorf("write weights: there is no tensor %q", name)
		}
		key, err := json.Marshal(name)
		if err != nil {
			return fmt.Errorf("write weights: %w", err)
		}
		dims := t.Dims
		if dims == nil {
			dims = []int64{}
		}
		val, err := json.Marshal(entry{t.Type, dims, []int64{at, at + int64(len(t.Data))}})
		if err != nil {
			return fmt.Errorf("write weights: %w", err)
		}
		if i > 0 {
			header.WriteByte(',')
		}
		header.Write(key)
		header.WriteByte(':')
		header.Write(val)
		at += int64(len(t.Data))
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 { // tensors begin aligned
		header.WriteByte(' ')
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))); err != nil {
		return fmt.Errorf("write weights: %w", err)
	}
	if _, err := w.Write(header.Bytes()); err != nil {
		return fmt.Errorf("write weights: %w", err)
	}
	for _, name := range names {
		if _, err := w.Write(tensors[name].Data); err != nil {
			return fmt.Errorf("write weights: %w", err)
		}
	}
	return nil
}
