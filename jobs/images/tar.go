package images

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"strings"
)

// tar walks an archive. Only headers are read, and the first bytes of members without an image's ending.
func (c *container) tar(ctx context.Context) error {
	u := c.b.unit(unit{Kind: byteRange, Name: c.uri, Size: c.size})
	fields := map[string]bool{}
	for _, f := range strings.Split(strings.ToLower(c.spec.ImageField), ";") {
		if f = strings.TrimPrefix(strings.TrimSpace(f), "."); f != "" {
			fields[f] = true
		}
	}
	t := tar.NewReader(&c.window)
	for n := 0; ; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		before := c.pos
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, tar.ErrInsecurePath) {
			err = nil // names are keys here, never paths
		}
		if err != nil {
			if c.pos >= c.size || errors.Is(err, io.ErrUnexpectedEOF) {
				return corrupt("the archive ends within a member behind byte %d: it is not whole", before)
			}
			if errors.Is(err, tar.ErrHeader) {
				return corrupt("no header where one is expected, behind byte %d", before)
			}
			// Such as a name or a sparse map of more than archive/tar takes, which has no error of its own.
			return broken(err, "the header behind byte %d", before)
		}
		if !isData(path.Base(h.Name)) || h.Typeflag == tar.TypeDir {
			continue
		}
		if err := c.member(u, h, fields); err != nil {
			return err
		}
	}
}

// member adds a member if it is an image.
func (c *container) member(u int32, h *tar.Header, fields map[string]bool) error {
	key, field := memberKey(c.spec.Key, h.Name)
	e := entry{key: strings.Clone(key), unit: u, at: c.pos, size: h.Size}
	plain := h.Typeflag == tar.TypeReg && !sparse(h)
	switch {
	case len(fields) > 0:
		if !fields[strings.ToLower(field)] {
			return nil
		}
	case !isImageName(h.Name):
		if !plain || h.Size < 12 {
			return nil
		}
		b, err := c.peek(c.pos, 16)
		if err != nil {
			return err
		}
		if !isImageData(b) {
			return nil
		}
	}
	switch {
	case !plain && h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse:
		e.size, e.bad = 0, &flaw{"not-a-file", c.uri + ": " + clip(h.Name) + " is a link or the like, not a file"}
	case !plain:
		e.size, e.bad = 0, &flaw{"not-a-file", c.uri + ": " + clip(h.Name) + " is stored as a sparse file"}
	case h.Size > c.size-c.pos:
		return corrupt("the archive ends within %s: it is not whole", clip(h.Name))
	}
	return c.b.add(e, h.Name)
}

// sparse tells whether a member's bytes do not lie in the archive as they are.
func sparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}
