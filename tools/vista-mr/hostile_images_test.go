//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	goimage "image"
	"image/color"
	"image/jpeg"
	"os"
	"slices"
	"strings"
	"testing"
)

// hugeMember is an archive whose member says that it has more bytes than there are.
func hugeMember(size string) func(t *testing.T) []byte {
	return func(t *testing.T) []byte {
		t.Helper()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "r00.png", Size: 3, Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		head := b.Bytes()[:512]
		copy(head[124:136], size)
		summed(head)
		return b.Bytes()
	}
}

// member is the header of an archive's member.
func member(name string, kind byte, size int64, magic string) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x0000000000000\x00", size))
	b[156] = kind
	copy(b[257:], magic)
	return summed(b)
}

func summed(b []byte) []byte {
	copy(b[148:156], "        ")
	sum := 0
	for _, v := range b {
		sum += int(v)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func imageTraps() []trap {
	images := func(file string) []string { return []string{"images.uri=" + file} }
	return []trap{
		{name: "tar member of 8 GiB", make: hugeMember("77777777777\x00"), file: "i.tar", set: images("i.tar"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "tar member of 8 EiB", make: hugeMember("\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"), file: "i.tar", set: images("i.tar"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "images in avro deflate", make: func(t *testing.T) []byte {
			d := deflated(t, 2048)
			return avroFile(imageSchema, "deflate", 1<<20, int64(len(d)), d)
		}, file: "i.avro", set: images("i.avro"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "images in avro snappy", make: func(*testing.T) []byte {
			return avroFile(imageSchema, "snappy", 1, int64(len(snappyClaim())), snappyClaim())
		}, file: "i.avro", set: images("i.avro"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "images in avro of nothing, doubled 25 times", make: func(*testing.T) []byte {
			return avroFile(strings.Replace(imageSchema, `]}`, `,{"name":"n","type":`+doubled(25)+`}]}`, 1), "null", 1, 6, []byte("\x06r00\x02x"))
		}, file: "i.avro", set: images("i.avro"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "tar name of 200 MiB", make: func(*testing.T) []byte {
			return append(member("././@LongLink", 'L', 200<<20, "ustar  \x00"), bytes.Repeat([]byte("a"), 2<<20)...)
		}, file: "i.tar", set: images("i.tar"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "tar map without end", make: func(*testing.T) []byte {
			more := make([]byte, 512) // of an old sparse member: 21 pieces of nothing, and again
			for i := range 21 {
				copy(more[24*i:], "00000000000\x0000000000000\x00")
			}
			more[504] = 1
			h := member("r00.png", 'S', 3, "ustar  \x00")
			copy(h[386:], "00000000000\x0000000000000\x00")
			h[482] = 1
			return append(summed(h), bytes.Repeat(more, 400_000)...)
		}, file: "i.tar", set: images("i.tar"), run: "submit", code: 3, want: "E-IMAGES"},
		{name: "pattern of braces", make: text("x"), file: "x", set: []string{"images.uri=" + strings.Repeat("{a,b}", 40)}, run: "validate", code: 3, want: "stands for more than"},
		{name: "pattern of stars", make: text("x"), file: "x", set: []string{"images.uri=images/" + strings.Repeat("*a", 2000) + "b"}, run: "validate", code: 3, want: "E-IMAGES"},
		{name: "images in parquet footer", make: text(footerClaim), file: "i.parquet", set: images("i.parquet"), run: "validate", code: 3, want: "E-IMAGES"},
	}
}

// withSize changes what a picture's header says of its size.
func withSize(b []byte, at int, order binary.ByteOrder, w, h uint32, wide bool) []byte {
	if wide {
		order.PutUint32(b[at:], w)
		order.PutUint32(b[at+4:], h)
	} else {
		order.PutUint16(b[at:], uint16(w))
		order.PutUint16(b[at+2:], uint16(h))
	}
	return b
}

func pngChunk(kind string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// pictureTraps are single pictures: each is one bad record, or a good one that is large.
func pictureTraps() []trap {
	picture := func(name, want string, file string, make func(t *testing.T) []byte) trap {
		return trap{name: "picture " + name, make: make, file: "images/" + file, run: "submit", code: 0, want: want}
	}
	jpegOf := func(t *testing.T, side int) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := jpeg.Encode(&b, goimage.NewYCbCr(goimage.Rect(0, 0, side, side), goimage.YCbCrSubsampleRatio444), nil); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	return []trap{
		picture("jpeg of 65500x65500", "60 images, 59 matched, 1 bad", "r00.png", func(t *testing.T) []byte {
			b := jpegOf(t, 16)
			return withSize(b, bytes.Index(b, []byte{0xFF, 0xC0})+5, binary.BigEndian, 65500, 65500, false)
		}),
		picture("png of 2^31 x 2^31", "60 images, 59 matched, 1 bad", "r00.png", func(t *testing.T) []byte {
			b := withSize(pngOf(t, goimage.NewGray(goimage.Rect(0, 0, 2, 2))), 16, binary.BigEndian, 1<<31-1, 1<<31-1, true)
			binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
			return b
		}),
		picture("png that is as large as it says", "", "r00.png", func(t *testing.T) []byte {
			return pngOf(t, goimage.NewNRGBA64(goimage.Rect(0, 0, 6900, 6900)))
		}),
		picture("jpeg that is as large as it says", "", "r00.png", func(t *testing.T) []byte { return jpegOf(t, 6900) }),
		picture("png with more pixels than rows", "", "r00.png", func(t *testing.T) []byte {
			var z bytes.Buffer
			w := zlib.NewWriter(&z)
			for range 1024 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			b := pngOf(t, goimage.NewGray(goimage.Rect(0, 0, 2, 2)))
			out := slices.Clone(b[:33])
			data := append([]byte("IDAT"), z.Bytes()...)
			out = binary.BigEndian.AppendUint32(out, uint32(z.Len()))
			out = append(out, data...)
			out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(data))
			return append(out, b[len(b)-12:]...)
		}),
		picture("gif of 65535x65535", "60 images, 59 matched, 1 bad", "r00.png", text("GIF89a\xff\xff\xff\xff\x80\x00\x00\x0a\x14\x1e\xc8\x64\x32,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x04\x8c\x2d\x99\x87\x00;")),
		picture("bmp of 2^30 x 2^30", "60 images, 59 matched, 1 bad", "r00.png", func(*testing.T) []byte {
			b := append([]byte("BM"), make([]byte, 60)...)
			b[10], b[14], b[26], b[28] = 54, 40, 1, 24
			return withSize(b, 18, binary.LittleEndian, 1<<30, 1<<30, true)
		}),
		picture("webp of 16384x16384", "60 images, 59 matched, 1 bad", "r00.png", text("RIFF\x1e\x00\x00\x00WEBPVP8L\x11\x00\x00\x00\x2f\xff\xff\xff\x0f\x00\x07\x10\xfd\x8f\xfe\x07\x22\xa2\xff\x01\x00\x00")),
		picture("tiff of the same strip", "60 images, 59 matched, 1 bad", "r00.png", func(t *testing.T) []byte {
			b, err := os.ReadFile("../../layers/image/testdata/odd/huge-tiles.tiff")
			if err != nil {
				t.Fatal(err)
			}
			return b
		}),
		picture("png of compressed texts", "60 images", "r00.png", func(t *testing.T) []byte {
			var z bytes.Buffer
			w := zlib.NewWriter(&z)
			_, err := w.Write(make([]byte, 200<<20))
			if err := errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			b := pngOf(t, goimage.NewGray(goimage.Rect(0, 0, 40, 36)))
			text := pngChunk("zTXt", append([]byte("a\x00\x00"), z.Bytes()...))
			return slices.Concat(b[:33], bytes.Repeat(text, 20), bytes.Repeat(pngChunk("tEXt", nil), 1_000_000), b[33:])
		}),
		picture("png in seven passes", "60 images", "r00.png", func(t *testing.T) []byte {
			const side = 6280 // at 8 bytes a pixel
			var z bytes.Buffer
			w, err := zlib.NewWriterLevel(&z, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range [7][4]int{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}} {
				row := make([]byte, 1+8*((side-p[0]+p[2]-1)/p[2]))
				for range (side - p[1] + p[3] - 1) / p[3] {
					if _, err := w.Write(row); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			head := append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, side), side), 16, 6, 0, 0, 1)
			return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", head), pngChunk("IDAT", z.Bytes()), pngChunk("IEND", nil))
		}),
		picture("gif of two million frames", "60 images", "r00.png", func(*testing.T) []byte {
			frame := []byte(",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00")
			return slices.Concat([]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"), bytes.Repeat(frame, 2_000_000), []byte(";"))
		}),
		picture("jpeg of markers", "60 images", "r00.png", func(t *testing.T) []byte {
			b := jpegOf(t, 32)
			return slices.Concat(b[:2], bytes.Repeat([]byte{0xff}, 20<<20), []byte{0xe0, 0, 2}, bytes.Repeat([]byte{0xff, 0xfe, 0, 2}, 5<<20), b[2:])
		}),
		picture("palette of nothing", "", "r00.png", func(t *testing.T) []byte {
			return pngOf(t, goimage.NewPaletted(goimage.Rect(0, 0, 1, 4000), color.Palette{color.Black}))
		}),
	}
}
