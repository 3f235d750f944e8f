package image

import (
	"bytes"
	"encoding/binary"
)

// sniff names the format of src by its content; "" if it is none of ours.
func sniff(src []byte) string {
	switch {
	case len(src) >= 3 && src[0] == 0xFF && src[1] == 0xD8 && src[2] == 0xFF:
		return "jpeg"
	case bytes.HasPrefix(src, []byte("\x89PNG\r\n\x1a\n")):
		return "png"
	case bytes.HasPrefix(src, []byte("GIF87a")), bytes.HasPrefix(src, []byte("GIF89a")):
		return "gif"
	case len(src) >= 12 && string(src[:4]) == "RIFF" && string(src[8:12]) == "WEBP":
		return "webp"
	case bytes.HasPrefix(src, []byte("II*\x00")), bytes.HasPrefix(src, []byte("MM\x00*")), bytes.HasPrefix(src, []byte("II+\x00")), bytes.HasPrefix(src, []byte("MM\x00+")):
		return "tiff"
	case len(src) >= 26 && src[0] == 'B' && src[1] == 'M':
		return "bmp"
	}
	return ""
}

// jpegHead is what a walk over a JPEG's segments finds, up to its first scan.
type jpegHead struct {
	w, h        int
	components  int
	progressive bool
	precision   int
	orientation int
	scans       int  // start-of-scan markers in the whole file; counted for progressive files only
	adobe       bool // Adobe's marker says how the colours are stored
	noQuant     bool // a component's quantisation table is missing before the first scan
}

// readJPEGHead walks the segments. Every step moves forward by at least two bytes, so the cost is
// bounded by the length.
func readJPEGHead(src []byte) (jpegHead, *BadImage) {
	h := jpegHead{orientation: 1}
	framed := false
	defined, used := 0, 0 // quantisation tables, as bits
	for p := 2; ; {
		for p < len(src) && src[p] != 0xFF { // as decoders do, skip what does not belong here
			p++
		}
		for p < len(src) && src[p] == 0xFF {
			p++
		}
		if p >= len(src) {
			return h, bad(ReasonTruncated, "no scan in %d bytes", len(src))
		}
		m := src[p]
		p++
		if m == 0 || m == 0x01 || (m >= 0xD0 && m <= 0xD8) {
			continue
		}
		if m == 0xD9 {
			return h, bad(ReasonCorrupt, "end of image before the first scan")
		}
		if p+2 > len(src) {
			return h, bad(ReasonTruncated, "no scan in %d bytes", len(src))
		}
		n := int(binary.BigEndian.Uint16(src[p:]))
		if n < 2 {
			return h, bad(ReasonCorrupt, "segment %#x has length %d", m, n)
		}
		if p+n > len(src) {
			return h, bad(ReasonTruncated, "segment %#x of %d bytes ends after the data", m, n)
		}
		body := src[p+2 : p+n]
		p += n
		switch {
		case m == 0xE1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")):
			if o := exifOrientation(body[6:]); o != 0 && h.orientation == 1 {
				h.orientation = o
			}
		case m == 0xEE && len(body) >= 12 && bytes.HasPrefix(body, []byte("Adobe")):
			h.adobe = true
		case m == 0xDB:
			for len(body) > 0 {
				defined |= 1 << (body[0] & 15)
				body = body[min(len(body), 1+64<<(body[0]>>4&1)):]
			}
		case m >= 0xC0 && m <= 0xCF && m != 0xC4 && m != 0xC8 && m != 0xCC:
			if framed {
				return h, bad(ReasonCorrupt, "two frame headers")
			}
			framed = true
			if len(body) < 6 {
				return h, bad(ReasonCorrupt, "frame header of %d bytes", len(body))
			}
			h.precision = int(body[0])
			h.h = int(binary.BigEndian.Uint16(body[1:]))
			h.w = int(binary.BigEndian.Uint16(body[3:]))
			h.components = int(body[5])
			h.progressive = m == 0xC2 || m == 0xC6 || m == 0xCA || m == 0xCE
			for c := body[6:]; len(c) >= 3; c = c[3:] {
				used |= 1 << (c[2] & 15)
			}
		case m == 0xDA:
			if !framed {
				return h, bad(ReasonCorrupt, "scan before the frame header")
			}
			h.noQuant = used&^defined != 0
			if h.progressive {
				h.scans = 1 + bytes.Count(src[p:], []byte{0xFF, 0xDA})
			}
			return h, nil
		}
	}
}

// exifOrientation returns tag 0x0112 of the first directory of a TIFF structure, 0 if there is none
// or its value is not 1 to 8. It looks at one directory of at most 512 entries.
func exifOrientation(b []byte) int {
	if len(b) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(b[:4]) {
	case "II*\x00":
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 0
	}
	off := uint64(order.Uint32(b[4:]))
	if off+2 > uint64(len(b)) {
		return 0
	}
	n := min(int(order.Uint16(b[off:])), 512)
	b = b[off+2:]
	for i := 0; i < n && len(b) >= 12; i, b = i+1, b[12:] {
		if order.Uint16(b) != 0x0112 {
			continue
		}
		v := 0
		switch order.Uint16(b[2:]) {
		case 3: // SHORT
			v = int(order.Uint16(b[8:]))
		case 4: // LONG, which some writers use
			v = int(min(order.Uint32(b[8:]), 9))
		case 1: // BYTE
			v = int(b[8])
		}
		if v >= 1 && v <= 8 {
			return v
		}
		return 0
	}
	return 0
}

// orientationOf finds the EXIF orientation in formats other than JPEG and TIFF; 1 if there is none.
func orientationOf(format string, src []byte) int {
	o := 0
	switch format {
	case "png":
		for p := 8; p+12 <= len(src); {
			n := uint64(binary.BigEndian.Uint32(src[p:]))
			if uint64(p)+12+n > uint64(len(src)) {
				break
			}
			kind := string(src[p+4 : p+8])
			if kind == "eXIf" {
				o = exifOrientation(src[p+8 : p+8+int(n)])
				break
			}
			if kind == "IEND" {
				break
			}
			p += 12 + int(n)
		}
	case "webp":
		for p := 12; p+8 <= len(src); {
			n := uint64(binary.LittleEndian.Uint32(src[p+4:]))
			if uint64(p)+8+n > uint64(len(src)) {
				break
			}
			if string(src[p:p+4]) == "EXIF" {
				body := src[p+8 : p+8+int(n)]
				o = exifOrientation(bytes.TrimPrefix(body, []byte("Exif\x00\x00")))
				break
			}
			p += 8 + int(n+n&1)
		}
	}
	if o == 0 {
		return 1
	}
	return o
}

// foreign names formats of pictures that are met and not read; "" if src is none of them.
func foreign(src []byte) string {
	if len(src) >= 12 && string(src[4:8]) == "ftyp" {
		switch string(src[8:12]) {
		case "heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1":
			return "HEIF (HEIC)"
		case "avif", "avis":
			return "AVIF"
		}
		return ""
	}
	for _, f := range []struct{ magic, name string }{
		{"\xff\x0a", "JPEG XL"},
		{"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"},
		{"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"},
		{"\xff\x4f\xff\x51", "JPEG 2000"},
		{"8BPS", "Photoshop (PSD)"},
		{"\x00\x00\x01\x00", "ICO"},
		{"%PDF-", "PDF"},
	} {
		if bytes.HasPrefix(src, []byte(f.magic)) {
			return f.name
		}
	}
	head := bytes.TrimLeft(bytes.TrimPrefix(src[:min(len(src), 1024)], []byte("\xef\xbb\xbf")), " \t\r\n")
	if bytes.HasPrefix(head, []byte("<svg")) || bytes.HasPrefix(head, []byte("<?xml")) && bytes.Contains(head, []byte("<svg")) {
		return "SVG"
	}
	return ""
}

// bmpProperty says which property of a BMP file is not read.
func bmpProperty(src []byte) string {
	size := binary.LittleEndian.Uint32(src[14:])
	if size != 40 && size != 108 && size != 124 || len(src) < 34 {
		return "a header of another version than 3, 4 and 5"
	}
	bits := binary.LittleEndian.Uint16(src[28:])
	switch how := binary.LittleEndian.Uint32(src[30:]); {
	case how == 1 || how == 2:
		return "run lengths (RLE)"
	case how == 4 || how == 5:
		return "a JPEG or PNG picture in it"
	case bits == 2 || bits == 16:
		return map[uint16]string{2: "2 bits a pixel", 16: "16 bits a pixel"}[bits]
	case how == 3 || how == 6:
		return "colours in bit fields of its own"
	}
	return "a palette or header of an unusual kind"
}
