package weights

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// maxEntries bounds the files of an archive: one for each storage and a few more.
const maxEntries = 1 << 17

// archived is one file of a zip archive, by the archive's directory.
type archived struct {
	name     string
	method   uint16
	flags    uint16
	crc      uint32
	packed   uint64 // bytes in the archive
	unpacked uint64
	local    uint64 // where its local header is
}

// directory reads the directory of a zip archive (the format's specification is APPNOTE.TXT). It is not
// archive/zip because that reads as many entries as a hostile file has, at some 300 bytes each.
func directory(data []byte) (map[string]archived, error) {
	le := binary.LittleEndian
	tail := data[max(len(data)-22-0xffff, 0):]
	end := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if end < 0 || len(tail)-end < 22 {
		return nil, broken("the zip archive has no directory: it is cut off")
	}
	end += len(data) - len(tail)
	count, size, at := uint64(le.Uint16(data[end+10:])), uint64(le.Uint32(data[end+12:])), uint64(le.Uint32(data[end+16:]))
	if end >= 20 && string(data[end-20:end-16]) == "PK\x06\x07" {
		wide := le.Uint64(data[end-12:])
		if wide > uint64(len(data))-56 || len(data) < 56 || string(data[wide:wide+4]) != "PK\x06\x06" {
			return nil, broken("the zip archive's 64-bit directory is not where it should be")
		}
		count, size, at = le.Uint64(data[wide+32:]), le.Uint64(data[wide+40:]), le.Uint64(data[wide+48:])
	}
	if at > uint64(len(data)) || size > uint64(len(data))-at {
		return nil, broken("the zip archive's directory lies outside the file")
	}
	if count > maxEntries {
		return nil, broken("the zip archive has %d files", count)
	}
	out := make(map[string]archived, count)
	dir := data[at : at+size]
	for range count {
		if len(dir) < 46 || string(dir[:4]) != "PK\x01\x02" {
			return nil, broken("the zip archive's directory is damaged")
		}
		nameLen, extraLen, noteLen := int(le.Uint16(dir[28:])), int(le.Uint16(dir[30:])), int(le.Uint16(dir[32:]))
		if len(dir) < 46+nameLen+extraLen+noteLen {
			return nil, broken("the zip archive's directory is damaged")
		}
		e := archived{name: string(dir[46 : 46+nameLen]), flags: le.Uint16(dir[8:]), method: le.Uint16(dir[10:]), crc: le.Uint32(dir[16:]),
			packed: uint64(le.Uint32(dir[20:])), unpacked: uint64(le.Uint32(dir[24:])), local: uint64(le.Uint32(dir[42:]))}
		if !e.widen(dir[46+nameLen:][:extraLen]) {
			return nil, broken("%q has damaged 64-bit sizes", e.name)
		}
		if _, twice := out[e.name]; twice {
			return nil, broken("%q is in the archive twice", e.name)
		}
		out[e.name] = e
		dir = dir[46+nameLen+extraLen+noteLen:]
	}
	return out, nil
}

// widen takes 64-bit values from the extra field 1 for those that say 2^32-1.
func (e *archived) widen(extra []byte) bool {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return true // padding, as writers leave it for alignment
		}
		field := extra[4 : 4+n]
		extra = extra[4+n:]
		if id != 1 {
			continue
		}
		for _, v := range []*uint64{&e.unpacked, &e.packed, &e.local} {
			if *v != 0xffffffff {
				continue
			}
			if len(field) < 8 {
				return false
			}
			*v, field = le.Uint64(field), field[8:]
		}
	}
	return true
}

// content returns the file's bytes, which torch.save never compresses: so there is nothing to inflate
// and nothing that could be a bomb.
func (e archived) content(data []byte) ([]byte, error) {
	le := binary.LittleEndian
	if e.method != 0 || e.packed != e.unpacked || e.flags&1 != 0 {
		return nil, &Error{Problems: []string{e.name + " is compressed or encrypted, which torch.save never does"}, Do: saveStateDict}
	}
	size := uint64(len(data))
	if size < 30 || e.local > size-30 || string(data[e.local:e.local+4]) != "PK\x03\x04" {
		return nil, broken("%q lies outside the archive", e.name)
	}
	at := e.local + 30 + uint64(le.Uint16(data[e.local+26:])) + uint64(le.Uint16(data[e.local+28:]))
	if at > size || e.unpacked > size-at {
		return nil, broken("%q lies outside the archive", e.name)
	}
	b := data[at : at+e.unpacked : at+e.unpacked]
	// 0 stands for none: torch.serialization.set_crc32_options(False).
	if e.crc != 0 && crc32.ChecksumIEEE(b) != e.crc {
		return nil, broken("the checksum of %q is wrong: the file is damaged", e.name)
	}
	return b, nil
}
