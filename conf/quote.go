package conf

import "strings"

// Quote writes a path so that it is one word of a shell's command line and no flag.
func Quote(path string) string {
	if len(path) > 1 && path[0] == '-' {
		path = "./" + path
	}
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r > 0x7f || strings.ContainsRune("_-+=./:@%,", r)
	}
	if path != "" && strings.TrimLeftFunc(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
