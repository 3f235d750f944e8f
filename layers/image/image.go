// Package image turns the bytes of one picture into the pixels that a CNN reads: it decodes (JPEG,
// PNG, GIF, BMP, TIFF, WebP, told apart by content), resizes with antialiasing as PIL does, crops as
// torchvision does, and writes RGB bytes, height x width x channel. Normalisation (scale, mean,
// deviation) is not done here: it is part of the ONNX graph.
//
// Invariant: whatever the source bytes are, Process either fills all of dst or returns an error that
// is a *BadImage; it does not panic, and it checks declared sizes before it allocates for them.
//
// Callers are the extract mappers, one Pipeline per goroutine. The package reads no files, knows no
// records and keeps nothing between pictures but buffers.
//
// How a picture goes through:
//
//  1. sniff the format by content; read size, EXIF orientation and, for JPEG, the structure from the
//     header with own bounded parsers; refuse what is too large.
//  2. work out the geometry: resized size, crop, and with it the source rows and columns that the crop
//     depends on. Everything else is never resampled.
//  3. decode. JPEG with libjpeg-turbo (when loaded) to RGB; or with the decoder in this package to
//     Y, Cb, Cr planes, only the blocks that step 2 asks for; or, for what that one leaves out
//     (progressive, CMYK, anything odd or damaged), with the standard library. Pictures at least twice
//     the needed size are decoded at 1/2, 1/4 or 1/8, from their DCT coefficients or by averaging blocks.
//  4. resample horizontally, then vertically, in PIL's fixed-point arithmetic. Planes are resampled each
//     at its own resolution, chroma through coefficients that contain libjpeg's smooth upsampling, and
//     only the crop is converted to RGB.
package image

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Spec says what Process makes of a picture. The zero value is invalid: CropH and CropW are required.
type Spec struct {
	// Resize is the length of the shorter side after resizing; the other side keeps the aspect ratio,
	// rounded down as torchvision does. 0: no resizing.
	Resize int
	// Stretch resizes to CropW x CropH without regard to the aspect ratio; Resize must be 0.
	Stretch bool
	// ResizeH and ResizeW, if set, are the size after resizing, without regard to the aspect ratio; Resize
	// must be 0.
	ResizeH, ResizeW int
	// CropH and CropW are the size of the result. The crop is centred, with torchvision's rounding;
	// where the resized picture is smaller, the border is black.
	CropH, CropW int
	// FloorCrop centres as Hugging Face's processors do: half a pixel is rounded down, that of a border up.
	FloorCrop bool
	// Interpolation is bilinear, bicubic, lanczos, hamming, box (all antialiased, as PIL defines them)
	// or nearest. Empty means bilinear.
	Interpolation string
	// ApplyEXIF turns the picture as its EXIF orientation says. The networks' training did not.
	ApplyEXIF bool
	// Exact accepts only pictures that have exactly CropW x CropH, after Resize if that is set, and does not crop.
	Exact bool
	// MaxPixels refuses pictures that declare more pixels, before anything is allocated. 0 means DefaultMaxPixels.
	MaxPixels int64
	// MaxBytes refuses longer sources. 0 means DefaultMaxBytes.
	MaxBytes int64
	// NoScaledDecode decodes large JPEGs at full size, which is slower and closest to PIL.
	NoScaledDecode bool
}

// Limits used where a Spec sets none. Decoding never takes more than maxDecode besides, which a progressive CMYK JPEG of
// 23 bytes per pixel does at 35 million pixels.
const (
	DefaultMaxPixels = 48 << 20
	DefaultMaxBytes  = 64 << 20
)

// Imagenet is the preprocessing of torchvision's ImageNet training: shorter side to 256 (bilinear,
// antialiased), centre crop of 224 x 224, EXIF orientation ignored.
func Imagenet() Spec {
	return Spec{Resize: 256, CropH: 224, CropW: 224, Interpolation: "bilinear"}
}

// Validate reports what is wrong with a Spec.
func (s Spec) Validate() error {
	switch {
	case s.CropH <= 0 || s.CropW <= 0:
		return fmt.Errorf("image: crop %dx%d: both sides must be positive", s.CropW, s.CropH)
	case s.CropH > maxSide || s.CropW > maxSide || s.Resize > maxSide || s.ResizeH > maxSide || s.ResizeW > maxSide:
		return fmt.Errorf("image: crop %dx%d, resize %d (%dx%d): sides are limited to %d", s.CropW, s.CropH, s.Resize, s.ResizeW, s.ResizeH, maxSide)
	case s.Resize < 0 || s.ResizeH < 0 || s.ResizeW < 0:
		return fmt.Errorf("image: resize %d (%dx%d) is negative", s.Resize, s.ResizeW, s.ResizeH)
	case (s.ResizeH == 0) != (s.ResizeW == 0):
		return fmt.Errorf("image: resize %dx%d: both sides or none", s.ResizeW, s.ResizeH)
	case s.Stretch && s.Resize != 0 || s.ResizeH != 0 && (s.Stretch || s.Resize != 0):
		return errors.New("image: stretch, resize to a shorter side and resize to a size exclude each other")
	case s.Exact && (s.Stretch || s.ResizeH != 0):
		return errors.New("image: a size that pictures are stretched to is not one that they have")
	case s.MaxPixels < 0 || s.MaxBytes < 0:
		return errors.New("image: limits must not be negative")
	}
	if _, ok := filters[s.interpolation()]; !ok {
		return fmt.Errorf("image: unknown interpolation %q (known: bilinear, bicubic, lanczos, hamming, box, nearest)", s.Interpolation)
	}
	return nil
}

// maxSide bounds the result's sides (not the source's).
const maxSide = 4096

func (s Spec) interpolation() string {
	if s.Interpolation == "" {
		return "bilinear"
	}
	return s.Interpolation
}

// Info tells what Process found. W and H are the stored size, before any orientation.
type Info struct {
	Format      string // jpeg, png, gif, bmp, tiff, webp
	W, H        int
	Orientation int    // EXIF orientation 1 to 8; 1 where there is none
	Decoder     string // who decoded: go or turbo
	Scaled      int    // denominator of the DCT-scaled decoding: 1, 2, 4 or 8
	Room        int64  // bytes that decoding took, as a Gate counts them
}

// The stable reasons of BadImage, by which failures are counted.
const (
	ReasonEmpty       = "empty"
	ReasonUnknown     = "unknown format"
	ReasonTruncated   = "truncated"
	ReasonCorrupt     = "corrupt"
	ReasonUnsupported = "unsupported"
	ReasonTooLarge    = "too large"
	ReasonWrongSize   = "wrong size"
)

// BadImage is the error for every source that cannot be used.
type BadImage struct {
	Reason string // one of the Reason constants
	Err    error  // the details
}

func (e *BadImage) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the details.
func (e *BadImage) Unwrap() error { return e.Err }

// ErrorID is the stable id under which users meet this error.
func (e *BadImage) ErrorID() string { return "E-BAD-IMAGE" }

// Hint says what to do next.
func (e *BadImage) Hint() string {
	switch e.Reason {
	case ReasonTooLarge:
		return "shrink the picture, or raise limits.memory"
	case ReasonWrongSize:
		return "preprocess: none takes pictures of the model's size only; use preprocess: imagenet or inline settings"
	case ReasonUnknown, ReasonUnsupported:
		return "convert the picture to JPEG or PNG"
	default:
		return "restore the file from its source, or raise limits.maxBadFraction to go on without it"
	}
}

func bad(reason string, format string, args ...any) *BadImage {
	return &BadImage{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// badDecode classifies an error of a decoder.
func badDecode(err error) *BadImage {
	var b *BadImage
	if errors.As(err, &b) {
		return b
	}
	reason := ReasonCorrupt
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		reason = ReasonTruncated
	case isUnsupported(err):
		reason = ReasonUnsupported
	default:
		// How the decoders put it where the data end early and they do not wrap the cause.
		for _, phrase := range []string{"short Huffman data", "unexpected EOF", "not enough pixel data", "not enough image data"} {
			if strings.Contains(err.Error(), phrase) {
				reason = ReasonTruncated
			}
		}
	}
	return &BadImage{Reason: reason, Err: err}
}

// DecoderChoice says who decodes JPEG. Other formats are always decoded in Go.
type DecoderChoice int

// The choices. Auto takes libjpeg-turbo where it is installed.
const (
	Auto DecoderChoice = iota
	Go
	Turbo
)

func (d DecoderChoice) String() string {
	switch d {
	case Auto:
		return "auto"
	case Go:
		return "go"
	case Turbo:
		return "turbo"
	}
	return fmt.Sprintf("DecoderChoice(%d)", int(d))
}
