package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type member struct {
	name, data string
	typ        byte // 0: a file
}

func tarFile(t testing.TB, all ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range all {
		h := &tar.Header{Name: m.name, Size: int64(len(m.data)), Mode: 0o644, Typeflag: m.typ}
		switch m.typ {
		case 0:
			h.Typeflag = tar.TypeReg
		case tar.TypeSymlink, tar.TypeLink:
			h.Linkname, h.Size = m.data, 0
		case tar.TypeDir:
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, m.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const jpg = "\xff\xd8\xff\xe0"

func TestTar(t *testing.T) {
	long := strings.Repeat("d/", 120) + "deep.jpg" // needs a PAX header
	all := []member{
		{"a/", "", tar.TypeDir},
		{"./a/one.jpg", "1", 0}, {"./a/one.json", "{}", 0}, {"a/.hidden.jpg", "h", 0}, {"__MACOSX/_x.jpg", "m", 0},
		{"/abs.png", "2", 0},
		{"../../etc/passwd.jpg", "3", 0},
		{"sniffed", jpg + "abcdefgh", 0}, {"text", "just some text, no image", 0}, {"bm.txt", "BM is a good car, is it not", 0},
		{"link.jpg", "/etc/passwd", tar.TypeSymlink}, {"hard.jpg", "a/one.jpg", tar.TypeLink},
		{"two.seg.png", "s", 0}, {"two.jpg", "t", 0},
		{".jpg", "hidden", 0},
		{long, "deep", 0},
	}
	for _, c := range []struct {
		spec Spec
		want []string
	}{
		{Spec{}, []string{"(one=1)", "(abs=2)", "(passwd=3)", "(sniffed=" + jpg + "abcdefgh)", "(link!not-a-file)", "(hard!not-a-file)",
			"(two=s)", "two~duplicate-key", "(deep=deep)"}},
		{Spec{Multiple: Mean, ImageField: "jpg; png"}, []string{"(one=1)", "(abs=2)", "(passwd=3)", "(link!not-a-file)", "(hard!not-a-file)", "(two=t)", "(deep=deep)"}},
		{Spec{Multiple: Max, Key: Path, ImageField: ".seg.png;JPG"}, []string{"(a/one=1)", "(../../etc/passwd=3)", "(link!not-a-file)", "(hard!not-a-file)",
			"(two=s", "two=t)", "(" + strings.Repeat("d/", 120) + "deep=deep)"}},
		{Spec{Key: Folder, ImageField: "jpg"}, []string{"(a=1)", "(etc=3)", "(/!not-a-file)", "/~duplicate-key", "/~duplicate-key", "(d=deep)"}},
	} {
		c.spec.URI = "s"
		h := newDisk(t, map[string][]byte{"s/0.tar": tarFile(t, all...), "s/notes.md": nil})
		if got := found(t, h, scan(t, h, c.spec), 3); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %q\nwant %q", c.spec, got, c.want)
		}
	}
}

// TestTarsOfOtherPrograms reads what testdata/tars.py had GNU tar, Python and libarchive write.
func TestTarsOfOtherPrograms(t *testing.T) {
	names, err := filepath.Glob("testdata/*.tar")
	if err != nil || len(names) < 12 {
		t.Fatal(len(names), err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"(one=1)", "(ä=umlaut)", "(sniffed=" + jpg + "12345678)", "(hard!not-a-file)", "(link!not-a-file)", "(deep=deep)"}
		if strings.Contains(name, "sparse") {
			want = []string{"(one=1)", "(holes!not-a-file)"}
		}
		h := newDisk(t, map[string][]byte{"a.tar": data})
		if got := found(t, h, scan(t, h, Spec{URI: "a.tar"}), 2); !slices.Equal(got, want) {
			t.Errorf("%s: got %q\nwant %q", name, got, want)
		}
	}
}

func TestDamagedTarsAreRefused(t *testing.T) {
	whole := tarFile(t, member{"a.jpg", strings.Repeat("a", 3000), 0}, member{"b.jpg", strings.Repeat("b", 3000), 0})
	huge := slices.Clone(whole)
	copy(huge[124:], "77777777777\x00") // the size of a.jpg: 8 GiB
	sum(huge[:512])
	negative := slices.Clone(whole)
	copy(negative[124:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0")
	sum(negative[:512])
	name := slices.Clone(whole) // a GNU long name of 2 MiB, of which archive/tar reads one
	name[156] = 'L'
	copy(name[124:], "00010000000\x00")
	copy(name[257:], "ustar  \x00")
	sum(name[:512])
	name = append(append(name[:512:512], bytes.Repeat([]byte("a"), 2<<20)...), whole...)
	for name, b := range map[string][]byte{"long name": name, "cut within a member": whole[:2000], "cut within the last": whole[:512*9], "huge": huge, "negative": negative,
		"garbage between": append(append(slices.Clone(whole[:512*7]), bytes.Repeat([]byte("z"), 512)...), whole[512*7:]...)} {
		_, err := Scan(t.Context(), newDisk(t, map[string][]byte{"a.tar": b}), Spec{URI: "a.tar"}, nil)
		var se *SourceError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), "a.tar: is damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sum makes a tar header's checksum right.
func sum(h []byte) {
	copy(h[148:156], "        ")
	n := 0
	for _, b := range h {
		n += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", n))
}

func TestSparseMembersAreNotTakenForTheirBytes(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{{Name: "a.jpg", Size: 2, Mode: 0o600, Typeflag: tar.TypeReg}, {Name: "s.jpg", Size: 3, Mode: 0o600, Typeflag: tar.TypeReg}} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("xyz")[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	old := b.Bytes()
	old[1024+156] = tar.TypeGNUSparse
	copy(old[1024+257:], "ustar  \x00")
	copy(old[1024+386:], make([]byte, 126))
	copy(old[1024+386:], "00000000000\x0000000000003\x00")
	copy(old[1024+483:], "00000000003\x00")
	sum(old[1024:1536])
	h := newDisk(t, map[string][]byte{"a.tar": old})
	if got, want := found(t, h, scan(t, h, Spec{URI: "a.tar"}), 1), []string{"(a=xy)", "(s!not-a-file)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
