package images

import (
	"bytes"
	"path"
	"strings"
)

// The ways to name the record of a file (images.key).
const (
	Stem   = "stem"
	Path   = "path"
	Folder = "folder"
)

// extensions of image files, in lower case.
var extensions = map[string]bool{".jpg": true, ".jpeg": true, ".jpe": true, ".jfif": true, ".png": true, ".gif": true,
	".bmp": true, ".tif": true, ".tiff": true, ".webp": true}

// isImageName tells whether a name has the ending of an image.
func isImageName(name string) bool { return extensions[strings.ToLower(path.Ext(name))] }

// isImageData tells whether content begins as an image does. BMP is not among them: its two letters begin
// many a text.
func isImageData(b []byte) bool {
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xd8\xff")), bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")),
		bytes.HasPrefix(b, []byte("GIF87a")), bytes.HasPrefix(b, []byte("GIF89a")),
		bytes.HasPrefix(b, []byte("II*\x00")), bytes.HasPrefix(b, []byte("MM\x00*")):
		return true
	}
	return len(b) >= 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP"
}

// isData tells names that are data from those that are not: hidden ones, and what begins with "_" as
// Hadoop has it.
func isData(base string) bool { return base != "" && base[0] != '.' && base[0] != '_' }

// FileKey is the key of the record that a file belongs to: how is images.key, root the folder of the source,
// and name the file's path below it.
func FileKey(how, root, name string) string {
	if how == Folder {
		dir := path.Dir(name)
		if dir == "." {
			dir = root
		}
		return path.Base("/" + dir)
	}
	if how != Path {
		name = path.Base(name)
	}
	if i := strings.LastIndexByte(name, '.'); i > strings.LastIndexByte(name, '/')+1 {
		name = name[:i]
	}
	return name
}

// memberKey is the key and the field of a member of an archive, as WebDataset has it: the name up to the
// first dot, and what stands behind it.
func memberKey(how, name string) (key, field string) {
	name = strings.TrimLeft(name, "/")
	for strings.HasPrefix(name, "./") {
		name = strings.TrimLeft(name[2:], "/")
	}
	dir, base := path.Split(name)
	stem, field, _ := strings.Cut(base, ".")
	switch how {
	case Folder:
		return path.Base("/" + dir), field
	case Path:
		return dir + stem, field
	}
	return stem, field
}
