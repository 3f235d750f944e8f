package results

import (
	"fmt"
	"strings"
)

const hexDigits = "0123456789ABCDEF"

// Folder writes a layer's name for use in a path: every byte outside [A-Za-z0-9._-] becomes %XX.
// The names "." and "..", which are no names to a file system, have their dots written so, too.
func Folder(layer string) string {
	dots := layer == "." || layer == ".."
	var b strings.Builder
	for i := range len(layer) {
		c := layer[i]
		if 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.' && !dots {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// LayerOf is the inverse of Folder; it refuses what Folder does not write.
func LayerOf(folder string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(folder); i++ {
		if folder[i] != '%' {
			b.WriteByte(folder[i])
			continue
		}
		if i+2 >= len(folder) {
			return "", fmt.Errorf("results: %q is no layer's folder", folder)
		}
		hi, lo := strings.IndexByte(hexDigits, folder[i+1]), strings.IndexByte(hexDigits, folder[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("results: %q is no layer's folder", folder)
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	if Folder(b.String()) != folder {
		return "", fmt.Errorf("results: %q is no layer's folder", folder)
	}
	return b.String(), nil
}
