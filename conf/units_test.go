package conf

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBytes(t *testing.T) {
	for in, want := range map[string]Bytes{
		"24GiB": 24 << 30, "512MiB": 512 << 20, "1.5GiB": 3 << 29, "16 GB": 16e9, "7B": 7, "0B": 0, "1TB": 1e12, "2KiB": 2048, "3KB": 3000,
	} {
		if got, err := ParseBytes(in); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "16", "16G", "16gib", "-1GiB", "1e3MiB", "GiB", "1..5GiB", " 1GiB", "1GiB ", "9007199254740993TiB", "99999999999999999999B", "1.5e300B"} {
		if got, err := ParseBytes(in); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", in, got)
		}
	}
}

func TestBytesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Bytes(rapid.Int64Range(0, math.MaxInt64).Draw(t, "bytes"))
		if rapid.Bool().Draw(t, "round") {
			b = b >> 30 << 30
		}
		got, err := ParseBytes(b.String())
		if err != nil || got != b {
			t.Fatalf("%d is written %s and read as %d, %v", b, b, got, err)
		}
	})
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond} {
		if got, err := ParseDuration(in); err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "10", "-1s", "0s", "1 m", "m"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestURI(t *testing.T) {
	for _, c := range []struct{ in, scheme, local string }{
		{"data/x.csv", "file", "data/x.csv"}, {"/abs", "file", "/abs"}, {"file:///abs/x", "file", "/abs/x"}, {"FILE:///abs", "file", "/abs"}, {"x:/abs", "file", "x:/abs"}, {"file://localhost/abs", "file", "/abs"}, {"hdfs://nn:8020/p", "hdfs", "hdfs://nn:8020/p"}, {"hdfs:///p", "hdfs", "hdfs:///p"}, {"S3://b/k", "s3", "S3://b/k"},
		{"s3a://b", "s3a", "s3a://b"}, {"C:/x", "file", "C:/x"}, {"a:b", "file", "a:b"}, {"", "file", ""},
	} {
		if u := URI(c.in); u.Scheme() != c.scheme || u.LocalPath() != c.local {
			t.Errorf("%q: scheme %q, local path %q", c.in, u.Scheme(), u.LocalPath())
		}
		if msg := checkURI(c.in); msg != "" {
			t.Errorf("%q: %s", c.in, msg)
		}
	}
	for _, in := range []string{"gs://b/k", "file://", "file://host/x", "s3://", "s3:///k", "a\x00b", "viewfs://x", "file:/x", "file:x", "hdfs:/x", "s3:b/k"} {
		if checkURI(in) == "" {
			t.Errorf("%q is accepted", in)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"inference", "placement", "join", "cpu", "elasticNet", "reg", "uri", "key"}
	for in, want := range map[string]string{
		"inferense": "inference", "elastic_net": "elasticNet", "ELASTICNET": "elasticNet", "jion": "join", "cpus": "cpu", "regg": "reg", "ur": "uri",
		"zzz": "", "": "", "a": "", "memory": "",
	} {
		if got := Nearest(in, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", in, got, want)
		}
	}
}
