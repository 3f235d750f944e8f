package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"

	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// keyID stands for a key: half of its SHA-256, 16 bytes whatever the key.
type keyID [16]byte

func idOf(key string) keyID {
	sum := sha256.Sum256([]byte(key))
	return keyID(sum[:16])
}

// mark is what is kept of a key's row: its class by first appearance, of which there are at most maxClasses, and flags.
type mark uint16

const (
	isTest  mark = 1 << 15
	isAside mark = 1 << 14 // of the key's rows none is good
	isMet   mark = 1 << 13 // an image of the key was met
	isLarge mark = 1 << 12 // a training row with a value that no model can be trained on
	classOf mark = isLarge - 1
)

func markOf(class int, test bool) mark {
	if test {
		return mark(class) | isTest
	}
	return mark(class)
}

// classes are the labels in the order of their classes.
func (w *walk) classes() []string { return table.Labels(maps.Keys(w.labels)) }

// Keys tells what a table has for each key. It is used by one goroutine.
type Keys struct {
	marks map[keyID]mark
	class []int // by first appearance: its number among the classes
}

// keys hands over what the walk has seen.
func (w *walk) keys(classes []string) *Keys {
	k := &Keys{marks: w.seen, class: make([]int, len(classes))}
	for number, label := range classes {
		k.class[w.labels[label]] = number
	}
	return k
}

// Key is what a table has for a key: one good row, or with Aside rows of which none is good.
type Key struct {
	Class int
	Test  bool
	Aside bool
	Large bool // a training row with a value that no model can be trained on
}

// Meet looks up an image's key and notes that it has an image. ok is false if the table has no row of the key.
func (k *Keys) Meet(key string) (_ Key, ok bool) {
	id := idOf(key)
	m, ok := k.marks[id]
	if !ok {
		return Key{}, false
	}
	k.marks[id] = m | isMet
	if m&isAside != 0 {
		return Key{Aside: true}, true
	}
	return Key{Class: k.class[m&classOf], Test: m&isTest != 0, Large: m&isLarge != 0}, true
}

// Alone gives the keys of good rows of which no image was met, in the table's order, until yield returns false. It
// reads the table once more: it is for a job that must fail for them.
func (k *Keys) Alone(ctx context.Context, fs dfs.FS, paths []dfs.Path, s *table.Schema, yield func(key string) bool) error {
	for r, err := range table.Read(ctx, fs, paths, s) {
		var bad *table.Bad
		if errors.As(err, &bad) {
			continue
		}
		if err != nil {
			return err
		}
		id := idOf(r.Key)
		m, ok := k.marks[id]
		if !ok || m&(isMet|isAside) != 0 {
			continue
		}
		k.marks[id] = m | isMet // a further row of the key is none of its own
		if !yield(r.Key) {
			return nil
		}
	}
	return nil
}
