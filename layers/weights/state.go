package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

// saveStateDict is what to do about a PyTorch file that is no plain state dict.
const saveStateDict = `save the parameters alone: torch.save(model.state_dict(), "weights.pth"), or as safetensors`

// magic begins every file of PyTorch's older format, behind two or more bytes of a pickle.
var magic = []byte{0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}

// isState says whether data begins as a file of torch.save does: a zip archive, or the older format.
func isState(data []byte) bool {
	return bytes.HasPrefix(data, []byte("PK\x03\x04")) || isOldState(data)
}

func isOldState(data []byte) bool {
	return len(data) > 0 && data[0] == 0x80 && bytes.Contains(data[:min(len(data), 32)], magic)
}

// storageTypes are the element types of storages, as safetensors calls them.
var storageTypes = map[global]string{
	"torch.FloatStorage": "F32", "torch.DoubleStorage": "F64", "torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16",
	"torch.LongStorage": "I64", "torch.IntStorage": "I32", "torch.ShortStorage": "I16", "torch.CharStorage": "I8",
	"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL",
}

// storage is a run of elements that tensors are views of.
type storage struct {
	key  string
	typ  string
	len  int64  // elements
	data []byte // set once the place in the file is known
}

// view is a tensor of a pickle: where it lies in its storage.
type view struct {
	of            *storage
	offset        int64
	dims, strides []int64
}

// stateHost makes storages and views of a pickle's persistent ids and calls. It knows the few functions
// that a state dict needs and refuses all others by name.
type stateHost struct {
	storages map[string]*storage
}

func (h *stateHost) persistent(id any) (any, error) {
	t, ok := id.(tuple)
	if !ok || len(t) < 5 || t[0] != "storage" {
		return nil, broken("a persistent id is no storage")
	}
	kind, ok1 := t[1].(global)
	key, ok2 := t[2].(string)
	n, ok3 := t[4].(int64)
	if !ok1 || !ok2 || !ok3 || n < 0 {
		return nil, broken("a storage is described by %d odd values", len(t))
	}
	if len(t) > 5 && t[5] != nil {
		return nil, &Error{Problems: []string{fmt.Sprintf("storage %q is a view of another one, as PyTorch 0.3 and older wrote it", key)}, Do: "load and save it with a newer PyTorch"}
	}
	typ, ok := storageTypes[kind]
	if !ok {
		return nil, &Error{Problems: []string{fmt.Sprintf("storage %q is a %s: elements of that type are not read", key, kind)}, Do: "convert the tensors to float32 before saving them"}
	}
	s := h.storages[key]
	if s == nil {
		s = &storage{key: key, typ: typ, len: n}
		h.storages[key] = s
	}
	if s.typ != typ || s.len != n {
		return nil, broken("storage %q is described in two ways: %d of %s and %d of %s", key, s.len, s.typ, n, typ)
	}
	return s, nil
}

func (h *stateHost) call(f global, args tuple) (any, error) {
	switch f {
	case "collections.OrderedDict":
		return orderedDict(args)
	case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2":
		return rebuild(args)
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state":
		if len(args) > 0 {
			if v, ok := args[0].(*view); ok {
				return v, nil
			}
		}
		return nil, broken("a parameter without its tensor")
	case "torch._tensor._rebuild_from_type_v2":
		if len(args) == 4 {
			name, ok1 := args[0].(global)
			inner, ok2 := args[2].(tuple)
			if ok1 && ok2 && (name == "torch._utils._rebuild_tensor_v2" || name == "torch._utils._rebuild_parameter") {
				return h.call(name, inner)
			}
		}
		return nil, broken("a tensor subclass that is not described as expected")
	case "torch.Size", "torch.device", "builtins.set", "__builtin__.set":
		return args, nil // settings beside the parameters, which nobody asks for
	}
	return nil, &Error{Problems: []string{fmt.Sprintf("it holds a %s, which is no part of a state dict; nothing of it was executed", f)}, Do: saveStateDict}
}

// orderedDict makes one, empty or from a list of pairs.
func orderedDict(args tuple) (any, error) {
	d := &dict{}
	if len(args) == 0 {
		return d, nil
	}
	l, ok := args[0].(*list)
	if !ok || len(args) > 1 {
		return nil, broken("an OrderedDict made of %d odd values", len(args))
	}
	for _, item := range l.items {
		var kv []any
		switch item := item.(type) {
		case tuple:
			kv = item
		case *list:
			kv = item.items
		}
		if len(kv) != 2 {
			return nil, broken("an OrderedDict made of something else than pairs")
		}
		d.items = append(d.items, pair{kv[0], kv[1]})
	}
	return d, nil
}

// rebuild makes a view of (storage, offset, size, stride, ...).
func rebuild(args tuple) (any, error) {
	if len(args) < 4 {
		return nil, broken("a tensor made of %d values", len(args))
	}
	s, ok := args[0].(*storage)
	offset, ok1 := args[1].(int64)
	dims, ok2 := integers(args[2])
	strides, ok3 := integers(args[3])
	if !ok || !ok1 || !ok2 || !ok3 || offset < 0 || len(dims) != len(strides) {
		return nil, broken("a tensor made of odd values")
	}
	if len(dims) > maxRank {
		return nil, broken("a tensor with %d dimensions", len(dims))
	}
	return &view{of: s, offset: offset, dims: dims, strides: strides}, nil
}

// maxRank bounds a tensor's dimensions; PyTorch itself allows 64.
const maxRank = 64

func integers(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	if !ok {
		return nil, false
	}
	out := make([]int64, len(t))
	for i, x := range t {
		if out[i], ok = x.(int64); !ok || out[i] < 0 {
			return nil, false
		}
	}
	return out, true
}

// readState reads a file of torch.save: a pickle that describes tensors, and storages that they are views
// of. Data refers to data; nothing is copied, and nothing in the file is executed.
//
// The zip format: an archive NAME/data.pkl, NAME/data/KEY for each storage, NAME/byteorder and some
// more, all stored without compression. The older one: pickles of a magic number, the protocol's version,
// the writer's system, the object, and the list of storage keys, then for each key its length in elements as
// int64 and its bytes.
func readState(data []byte) (map[string]Tensor, string, error) {
	h := &stateHost{storages: map[string]*storage{}}
	var root any
	var err error
	if isOldState(data) {
		root, err = readOld(data, h)
	} else {
		root, err = readZip(data, h)
	}
	if err != nil {
		return nil, "", err
	}
	d, where := stateDict(root, 3, map[*dict]bool{})
	if d == nil {
		return nil, "", &Error{Problems: []string{"it holds no dictionary of tensors"}, Do: saveStateDict}
	}
	out := make(map[string]Tensor, len(d.items))
	for _, item := range d.items {
		name, ok := item.key.(string)
		v, isTensor := item.value.(*view)
		if !isTensor {
			continue // settings kept beside the parameters
		}
		if !ok {
			return nil, "", broken("a tensor is named by a %T", item.key)
		}
		if _, twice := out[name]; twice {
			return nil, "", broken("tensor %q is there twice", name)
		}
		if out[name], err = v.tensor(name); err != nil {
			return nil, "", err
		}
	}
	return out, where, nil
}

// wrappers are the keys under which training programs keep a state dict, the likeliest first.
var wrappers = []string{"state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights", "state_dict_ema", "model_ema"}

// stateDict finds the dictionary of tensors in what was saved: the thing itself, or what it keeps under
// one of the usual keys. where names the keys passed.
func stateDict(v any, depth int, seen map[*dict]bool) (d *dict, where string) {
	d, ok := v.(*dict)
	if !ok || depth == 0 || seen[d] {
		return nil, ""
	}
	seen[d] = true
	for _, key := range wrappers {
		if inner, ok := d.get(key); ok {
			if found, path := stateDict(inner, depth-1, seen); found != nil {
				return found, strings.TrimSuffix(key+"."+path, ".")
			}
		}
	}
	if slices.ContainsFunc(d.items, func(p pair) bool { _, ok := p.value.(*view); return ok }) {
		return d, ""
	}
	return nil, ""
}

// tensor checks that the view lies inside its storage.
func (v *view) tensor(name string) (Tensor, error) {
	width := widths[v.of.typ]
	t := Tensor{Type: v.of.typ, Dims: v.dims}
	n, last := int64(1), v.offset // elements, and the index of the last one
	dense := true
	for i := len(v.dims) - 1; i >= 0; i-- {
		d, s := v.dims[i], v.strides[i]
		if d > 1 {
			dense = dense && s == n
			if s > math.MaxInt64/8/d || last > math.MaxInt64/2-(d-1)*s {
				return t, broken("tensor %q has the shape %v with the strides %v", name, v.dims, v.strides)
			}
			last += (d - 1) * s
		}
		if d > 0 && n > math.MaxInt64/8/d {
			return t, broken("tensor %q has the shape %v", name, v.dims)
		}
		n *= d
	}
	if n == 0 {
		return t, nil
	}
	if last >= v.of.len || v.of.data == nil {
		return t, broken("tensor %q reaches to element %d of storage %q, which has %d", name, last, v.of.key, v.of.len)
	}
	// A stride of 0 makes many elements of one. Whoever reads the tensor has memory for all of them, which must not be
	// more than the file's size tells; torch's parameters are never expanded.
	if n > v.of.len {
		return t, &Error{Problems: []string{fmt.Sprintf("tensor %q has %d elements, its storage %q only %d", name, n, v.of.key, v.of.len)},
			Do: "save copies of expanded tensors (tensor.clone()), or save the file as safetensors"}
	}
	t.Data = v.of.data[v.offset*width : (last+1)*width : (last+1)*width]
	if !dense {
		t.Strides = v.strides
	}
	return t, nil
}

func readZip(data []byte, h *stateHost) (any, error) {
	entries, err := directory(data)
	if err != nil {
		return nil, err
	}
	root := ""
	for _, name := range sortedKeys(entries) {
		// The archive's folder is named as the file was; there is exactly one.
		switch dir, file, _ := strings.Cut(name, "/"); file {
		case "data.pkl":
			if root != "" {
				return nil, broken("the archive holds two pickles")
			}
			root = dir + "/"
		case "constants.pkl":
			return nil, &Error{Problems: []string{"it is a TorchScript archive, a program and no state dict"}, Do: saveStateDict}
		}
	}
	if root == "" {
		return nil, &Error{Problems: []string{"the zip archive is not one of torch.save: it holds no data.pkl"}, Do: saveStateDict}
	}
	if e, ok := entries[root+"byteorder"]; ok {
		b, err := e.content(data)
		if err != nil {
			return nil, err
		}
		if string(b) != "little" {
			return nil, &Error{Problems: []string{fmt.Sprintf("its byte order is %.10q", b)}, Do: "save it on a little-endian machine, or as safetensors"}
		}
	}
	pickle, err := entries[root+"data.pkl"].content(data)
	if err != nil {
		return nil, err
	}
	v, _, err := unpickle(pickle, h)
	if err != nil {
		return nil, err
	}
	for _, key := range sortedKeys(h.storages) {
		s := h.storages[key]
		e, ok := entries[root+"data/"+key]
		if !ok {
			return nil, broken("storage %q is missing in the archive", key)
		}
		if s.data, err = e.content(data); err != nil {
			return nil, err
		}
		if s.len > int64(len(s.data))/widths[s.typ] {
			return nil, broken("storage %q has %d bytes, %d elements of %s are announced", key, len(s.data), s.len, s.typ)
		}
	}
	return v, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func readOld(data []byte, h *stateHost) (any, error) {
	var parts [5]any // magic number, protocol, system, object, storage keys
	rest := data
	for i := range parts {
		v, n, err := unpickle(rest, h)
		if err != nil {
			return nil, err
		}
		parts[i], rest = v, rest[n:]
	}
	if parts[1] != int64(1001) {
		return nil, broken("version %v of PyTorch's older format", parts[1])
	}
	if sys, ok := parts[2].(*dict); ok {
		if little, ok := sys.get("little_endian"); ok && little != true {
			return nil, &Error{Problems: []string{"it was saved on a big-endian machine"}, Do: "save it on a little-endian machine, or as safetensors"}
		}
	}
	keys, ok := parts[4].(*list)
	if !ok {
		return nil, broken("the storages are not listed")
	}
	for _, k := range keys.items {
		key, ok := k.(string)
		s := h.storages[key]
		if !ok || s == nil || s.data != nil {
			return nil, broken("storage %v is listed, but no tensor refers to it, or listed twice", k)
		}
		if len(rest) < 8 {
			return nil, broken("the file ends before storage %q", key)
		}
		n := int64(binary.LittleEndian.Uint64(rest))
		width := widths[s.typ]
		rest = rest[8:]
		if n != s.len || n > int64(len(rest))/width {
			return nil, broken("storage %q should have %d elements and has %d; %d bytes are left in the file", key, s.len, n, len(rest))
		}
		s.data, rest = rest[:n*width:n*width], rest[n*width:]
	}
	return parts[3], nil
}
