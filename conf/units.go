package conf

import (
	"encoding/json"
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Bytes is a size in bytes, written with its unit: "24GiB", "512MiB", "1.5GB".
type Bytes int64

const (
	bytesPattern     = `^[0-9]+(\.[0-9]+)? ?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$`
	bytesPatternHelp = "must be a size with its unit, such as 16GiB or 512MiB"
)

var (
	bytesRE   = regexp.MustCompile(bytesPattern)
	byteUnits = []struct {
		name string
		size int64
	}{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
	}
)

// ParseBytes reads a size with its unit. KiB, MiB, GiB and TiB are powers of 1024, KB to TB powers
// of 1000. A bare number is refused: nobody can tell what it counts.
func ParseBytes(s string) (Bytes, error) {
	if !bytesRE.MatchString(s) {
		return 0, fmt.Errorf("%s; found %q", bytesPatternHelp, s)
	}
	for _, u := range byteUnits {
		num, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		num = strings.TrimSuffix(num, " ")
		if n, err := strconv.ParseInt(num, 10, 64); err == nil {
			if n > math.MaxInt64/u.size {
				return 0, fmt.Errorf("%q is too large", s)
			}
			return Bytes(n * u.size), nil
		}
		f, err := strconv.ParseFloat(num, 64)
		if err != nil || f*float64(u.size) >= math.MaxInt64 {
			return 0, fmt.Errorf("%q is too large", s)
		}
		return Bytes(f * float64(u.size)), nil
	}
	return 0, fmt.Errorf("%s; found %q", bytesPatternHelp, s) // not reached: the pattern ends in a unit
}

// String writes the size exactly, in the largest unit that divides it: 24GiB, 1536MiB, 1000B.
func (b Bytes) String() string {
	for _, u := range byteUnits[:4] {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalJSON writes the size as the job file does.
func (b Bytes) MarshalJSON() ([]byte, error) { return json.Marshal(b.String()) }

// UnmarshalYAML reads the size from its text.
func (b *Bytes) UnmarshalYAML(n *yaml.Node) error {
	v, err := ParseBytes(n.Value)
	*b = v
	return err
}

// Duration is a length of time, written with its unit: "10m", "1h30m", "250ms".
type Duration time.Duration

// ParseDuration reads a positive length of time with its unit (ms, s, m, h and their sums).
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("must be a length of time with its unit, such as 10m or 1h30m; found %q", s)
	}
	return Duration(d), nil
}

// String writes the duration as ParseDuration reads it.
func (d Duration) String() string { return time.Duration(d).String() }

// URI names a file or folder: a bare path, file:///path, hdfs://host:port/path, s3://bucket/key or
// s3a://bucket/key.
type URI string

// Schemes lists the URI schemes of the format; a bare path counts as "file".
func Schemes() []string { return []string{"file", "hdfs", "s3", "s3a"} }

var (
	schemeRE = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	// Hadoop prints file:/path and takes hdfs:/path; here one slash makes a path with a colon, which
	// is hardly what was meant.
	oneSlash = regexp.MustCompile(`^(?i:(file|hdfs|s3a?)):(/?)[^/]`)
)

// Scheme returns the URI's scheme in lower case, "file" for a bare path.
func (u URI) Scheme() string {
	if m := schemeRE.FindStringSubmatch(string(u)); m != nil {
		return strings.ToLower(m[1])
	}
	return "file"
}

// LocalPath returns the path of a local URI without file://; other URIs come back unchanged.
func (u URI) LocalPath() string {
	if u.Scheme() != "file" {
		return string(u)
	}
	s := string(u)
	if schemeRE.MatchString(s) {
		return strings.TrimPrefix(s[len("file://"):], "localhost")
	}
	return s
}

// Normal writes a URI so that equal places compare equal, as far as its text tells.
func (u URI) Normal() string {
	switch u.Scheme() {
	case "file":
		return path.Clean(u.LocalPath())
	case "s3a":
		u = "s3" + u[3:]
	}
	scheme, rest, _ := strings.Cut(string(u), "://")
	return strings.ToLower(scheme) + "://" + strings.TrimPrefix(path.Clean("/"+rest), "/")
}

// checkURI says what is wrong with a URI's form, or nothing.
func checkURI(s string) string {
	for _, r := range s {
		if unicode.IsControl(r) {
			return "must not hold control characters"
		}
	}
	u := URI(s)
	scheme := u.Scheme()
	known := false
	for _, k := range Schemes() {
		known = known || k == scheme
	}
	switch rest := strings.TrimPrefix(s, schemeRE.FindString(s)); {
	case !known:
		return fmt.Sprintf("scheme %q is not supported; supported are a bare path, file://, hdfs:// and s3:// (or s3a://)", scheme)
	case scheme == "file" && s != u.LocalPath() && !strings.HasPrefix(u.LocalPath(), "/"):
		return "names a host; a local file is file:///path with three slashes"
	case scheme == "file" && u.LocalPath() == "" && s != "":
		return "names no file"
	case oneSlash.MatchString(s):
		scheme, path, _ := strings.Cut(s, ":")
		return fmt.Sprintf("write %s:///%s, with three slashes", strings.ToLower(scheme), strings.TrimLeft(path, "/"))
	case scheme == "s3" || scheme == "s3a":
		if rest == "" || rest[0] == '/' {
			return fmt.Sprintf("names no bucket; write %s://bucket/path", scheme)
		}
	}
	return ""
}
