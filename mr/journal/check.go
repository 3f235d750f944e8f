package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// A line is {"check":"LENGTH-CRC", and then the event without its first brace. Length and checksum are of the event with it.
// The length tells a line that was cut off, which is shorter than it says, from one that is damaged.

const checkPrefix = `{"check":"`

var table = crc32.MakeTable(crc32.Castagnoli)

// withCheck makes a line of an event.
func withCheck(body []byte) []byte {
	line := fmt.Appendf(nil, `%s%x-%08x",`, checkPrefix, len(body), crc32.Checksum(body, table))
	return append(append(line, body[1:]...), '\n')
}

var (
	errNoCheck = errors.New("the line has no check, or a damaged one")
	errCut     = errors.New("the line was cut off")
	errDamaged = errors.New("the line is not what its check says: it is damaged")
)

// parse reads a line without its end. After an error, cut says that the line may have been cut off by a crash. Runs of
// version 1 have no checks: of their lines nobody can tell.
func parse(line []byte, checked bool) (e Event, cut bool, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(checkPrefix))
	check, after, whole := bytes.Cut(rest, []byte(`",`))
	switch {
	case !ok && bytes.HasPrefix([]byte(checkPrefix), line), ok && !whole && len(rest) < len("123456789-12345678"):
		return e, true, errCut
	case !ok || !whole:
		if err := json.Unmarshal(line, &e); err != nil {
			return e, !checked, err
		}
		if checked || e.Schema > 1 {
			return e, false, errNoCheck
		}
		return e, false, nil
	}
	var length int
	var crc uint32
	if n, err := fmt.Sscanf(string(check), "%x-%08x", &length, &crc); n != 2 || err != nil || string(check) != fmt.Sprintf("%x-%08x", length, crc) {
		return e, false, errNoCheck
	}
	body := append([]byte("{"), after...)
	switch sum := crc32.Checksum(body, table); {
	case sum != crc && len(body) < length:
		return e, true, errCut
	case sum != crc || len(body) != length:
		return e, false, errDamaged
	}
	return e, false, json.Unmarshal(body, &e)
}
