package extract

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/vista-mr/vista-mr/mr"
)

// What travels from the images' side to a join that comes later is a value for each record:
//
//	byte 0     usable, unusable or partly usable
//	if not usable: varint length of a JSON list of mr.BadRecord, then the list: images that cannot be used
//	rest       if not unusable: vectors or volumes one behind the other, or the images' bytes in frames
const (
	unusable byte = 0
	usable   byte = 1
	partly   byte = 2
)

// AppendOutcome encodes the front of a record's value; the payload is appended behind it. bad are the images that
// cannot be used, and with none the record has no payload.
func AppendOutcome(dst []byte, bad []mr.BadRecord, none bool) ([]byte, error) {
	if len(bad) == 0 {
		return append(dst, usable), nil
	}
	story, err := json.Marshal(bad)
	if err != nil {
		return dst, err
	}
	status := partly
	if none {
		status = unusable
	}
	dst = append(dst, status)
	dst = binary.AppendUvarint(dst, uint64(len(story)))
	return append(dst, story...), nil
}

// Outcome is a record's value from the images' side, decoded.
type Outcome struct {
	None    bool // no image of the record can be used
	Bad     []mr.BadRecord
	Payload []byte // a view
}

// SplitOutcome decodes a value.
func SplitOutcome(value []byte) (o Outcome, err error) {
	if len(value) == 0 || value[0] > partly {
		return o, fmt.Errorf("a record's value of %d bytes is damaged", len(value))
	}
	if value[0] == usable {
		return Outcome{Payload: value[1:]}, nil
	}
	n, k := binary.Uvarint(value[1:])
	if k <= 0 || n > uint64(len(value)-1-k) {
		return o, fmt.Errorf("a record's value of %d bytes is damaged", len(value))
	}
	if err := json.Unmarshal(value[1+k:1+k+int(n)], &o.Bad); err != nil {
		return o, fmt.Errorf("a record's bad images: %w", err)
	}
	o.None, o.Payload = value[0] == unusable, value[1+k+int(n):]
	return o, nil
}

// AppendFrame appends the bytes of one image of a record.
func AppendFrame(dst, image []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(image)))
	return append(dst, image...)
}

// CutFrame takes the first image off, as a view.
func CutFrame(frames []byte) (image, rest []byte, err error) {
	n, k := binary.Uvarint(frames)
	if k <= 0 || n > uint64(len(frames)-k) {
		return nil, nil, fmt.Errorf("%d bytes of images are damaged", len(frames))
	}
	return frames[k : k+int(n)], frames[k+int(n):], nil
}
