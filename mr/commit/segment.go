package commit

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/golang/snappy"

	"github.com/vista-mr/vista-mr/mr"
)

// A segment is a file of records of one phase. It begins with segmentMagic; blocks follow, each of a head of 16 bytes
// (lengths before and after compression, CRC32C of the body, CRC32C of the head) and a body that Snappy has packed; the
// last one is empty, so that a file that lacks its end is noticed. The checksums of heads cover the segment's
// phase and name too: a segment that lies elsewhere is damaged. All numbers are little-endian.
//
// A record is its kind, the index of the task, the attempt's number and epoch, and the length of what follows, as varints;
// then, of a kept one, the rest of the manifest as JSON. What a segment says does not depend on the order of its
// records, nor on that of segments: kept is what was kept and never forgotten.
const (
	segmentMagic = "VMTASKS1"
	blockHead    = 16
	blockSize    = 64 << 10 // a block ends with the record that takes it here; Snappy does not look back further
)

const (
	recordKept byte = iota + 1
	recordForgotten
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// try is an attempt of a phase that is known.
type try struct {
	index, number int
	epoch         int64
}

func tryOf(a mr.AttemptID, epoch int64) try { return try{a.Task.Index, a.Number, epoch} }

// newer tells which of two attempts of a task counts.
func (t try) newer(o try) bool { return t.epoch > o.epoch || t.epoch == o.epoch && t.number > o.number }

// body is what a manifest says beside its attempt.
type body struct {
	Files    []mr.PartFile    `json:"f,omitempty"`
	Counters map[string]int64 `json:"c,omitempty"`
	Value    json.RawMessage  `json:"v,omitempty"`
	Bad      []mr.BadRecord   `json:"b,omitempty"`
	Seconds  float64          `json:"s,omitempty"`
}

// keptRecord encodes what Keep keeps.
func keptRecord(m *mr.Manifest) ([]byte, error) {
	data, err := json.Marshal(body{m.Files, m.Counters, m.Value, m.Bad, m.Seconds})
	return appendRecord(nil, recordKept, tryOf(m.Attempt, m.Epoch), data), err
}

func (r record) manifest(phase mr.PhaseID) (mr.Manifest, error) {
	var b body
	err := json.Unmarshal(r.data, &b)
	return mr.Manifest{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: phase, Index: r.index}, Number: r.number}, Epoch: r.epoch,
		Files: b.Files, Counters: b.Counters, Value: b.Value, Bad: b.Bad, Seconds: b.Seconds}, err
}

func appendRecord(to []byte, kind byte, t try, data []byte) []byte {
	to = append(to, kind)
	for _, v := range [...]uint64{uint64(t.index), uint64(t.number), uint64(t.epoch), uint64(len(data))} {
		to = binary.AppendUvarint(to, v)
	}
	return append(to, data...)
}

// record is one as it was read; data belongs to the block that it lay in.
type record struct {
	try
	kind byte
	data []byte
}

func (r record) encoded() []byte { return appendRecord(nil, r.kind, r.try, r.data) }

// encodeSegment makes a file of records that are encoded already. label is segment.label's.
func encodeSegment(label string, records [][]byte) []byte {
	out := []byte(segmentMagic)
	var raw, packed []byte
	flush := func() {
		packed = snappy.Encode(packed[:cap(packed)], raw)
		out = append(appendHead(out, label, len(raw), packed), packed...)
		raw = raw[:0]
	}
	for _, r := range records {
		if raw = append(raw, r...); len(raw) >= blockSize {
			flush()
		}
	}
	if len(raw) > 0 {
		flush()
	}
	return appendHead(out, label, 0, nil)
}

func appendHead(to []byte, label string, raw int, packed []byte) []byte {
	at := len(to)
	to = binary.LittleEndian.AppendUint32(to, uint32(raw))
	to = binary.LittleEndian.AppendUint32(to, uint32(len(packed)))
	to = binary.LittleEndian.AppendUint32(to, crc32.Checksum(packed, castagnoli))
	return binary.LittleEndian.AppendUint32(to, headSum(label, to[at:]))
}

func headSum(label string, head []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(label), castagnoli), castagnoli, head)
}

var errTorn = errors.New("it lacks its end")

// decodeSegment yields the records of a segment. After a damaged body it goes on with the next block, after a damaged
// head it cannot; the error tells of the first damage and comes with all records that are whole.
func decodeSegment(label string, data []byte) (out []record, err error) {
	rest, ours := cutPrefix(data, segmentMagic)
	if !ours {
		return nil, errors.New("it does not begin as one")
	}
	damaged := func(e error) {
		if err == nil {
			err = fmt.Errorf("at byte %d: %w", len(data)-len(rest), e)
		}
	}
	for {
		if len(rest) < blockHead {
			damaged(errTorn)
			return out, err
		}
		raw, stored := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		if headSum(label, rest[:blockHead-4]) != binary.LittleEndian.Uint32(rest[blockHead-4:]) {
			damaged(errors.New("the head of a block is not what its checksum says"))
			return out, err
		}
		if raw == 0 && stored == 0 {
			if len(rest) > blockHead {
				damaged(errors.New("something follows its end"))
			}
			return out, err
		}
		if uint64(len(rest)-blockHead) < uint64(stored) {
			damaged(errTorn)
			return out, err
		}
		packed := rest[blockHead:][:stored]
		if crc32.Checksum(packed, castagnoli) != binary.LittleEndian.Uint32(rest[8:]) {
			damaged(errors.New("a block is not what its checksum says"))
		} else if all, e := decodeBlock(packed, int(raw)); e != nil {
			damaged(e)
		} else {
			out = append(out, all...)
		}
		rest = rest[blockHead+int(stored):]
	}
}

func cutPrefix(data []byte, prefix string) ([]byte, bool) {
	if len(data) < len(prefix) || string(data[:len(prefix)]) != prefix {
		return data, false
	}
	return data[len(prefix):], true
}

func decodeBlock(packed []byte, raw int) ([]record, error) {
	if n, err := snappy.DecodedLen(packed); err != nil || n != raw {
		return nil, fmt.Errorf("a block of %d bytes says that it has %d: %w", raw, n, err)
	}
	data, err := snappy.Decode(nil, packed)
	if err != nil {
		return nil, err
	}
	var out []record
	for len(data) > 0 {
		r := record{kind: data[0]}
		data = data[1:]
		var v [4]uint64
		for i := range v {
			n := 0
			if v[i], n = binary.Uvarint(data); n <= 0 || v[i] > math.MaxInt64 {
				return nil, errors.New("a record has no head")
			}
			data = data[n:]
		}
		if v[3] > uint64(len(data)) {
			return nil, errors.New("a record is longer than its block")
		}
		r.try = try{int(v[0]), int(v[1]), int64(v[2])}
		r.data, data = data[:v[3]:v[3]], data[v[3]:]
		out = append(out, r)
	}
	return out, nil
}

// merge leaves what a segment must say in place of others that said all of this: each once, and nothing that
// was forgotten. That it was forgotten it goes on saying: the others may still be there.
func merge(all []record) [][]byte {
	gone := forgotten(all)
	said := map[try]bool{}
	var out [][]byte
	for _, r := range all {
		if said[r.try] || r.kind == recordKept && gone[r.try] {
			continue
		}
		said[r.try] = true
		out = append(out, r.encoded())
	}
	return out
}

func forgotten(all []record) map[try]bool {
	gone := map[try]bool{}
	for _, r := range all {
		if r.kind == recordForgotten {
			gone[r.try] = true
		}
	}
	return gone
}
