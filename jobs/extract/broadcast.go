package extract

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
)

// Table is the broadcast side of a map-side join: every row of the table by key, loaded once
// per process and read by all its tasks. Of a key it holds half of its SHA-256: a small file can have a million keys
// of 4 KiB, of rows that nobody uses.
type Table struct {
	rows  map[keyID]span
	arena [][]byte
}

type keyID [16]byte

func idOf(key []byte) keyID {
	sum := sha256.Sum256(key)
	return keyID(sum[:16])
}

// span is where a row lies: arena chunk, offset, length. Of a row that was set aside all is zero: a good row has bytes.
type span struct {
	chunk  int32
	offset int32
	length int32
}

// arenaChunk is large enough that chunks cost nothing and small enough not to waste.
const arenaChunk = 1 << 20

// OpenTable returns the process's table of the named broadcast input.
func OpenTable(ctx context.Context, t mr.Task, input string) (*Table, error) {
	key := "table/" + string(t.Spec().Job)
	c, err := t.Shared(ctx, key, func(ctx context.Context) (io.Closer, error) {
		tab := &Table{rows: map[keyID]span{}}
		for r, err := range t.Records(ctx, input) {
			if err != nil {
				return nil, err
			}
			tab.add(r)
		}
		return tab, nil
	})
	if err != nil {
		return nil, fmt.Errorf("broadcast table: %w", err)
	}
	return c.(*Table), nil
}

func (t *Table) add(r mr.Record) {
	id := idOf(r.Key)
	if row.IsAside(r.Value) {
		t.rows[id] = span{}
		return
	}
	last := len(t.arena) - 1
	if last < 0 || cap(t.arena[last])-len(t.arena[last]) < len(r.Value) {
		t.arena = append(t.arena, make([]byte, 0, max(arenaChunk, len(r.Value))))
		last++
	}
	at := len(t.arena[last])
	t.arena[last] = append(t.arena[last], r.Value...)
	t.rows[id] = span{chunk: int32(last), offset: int32(at), length: int32(len(r.Value))}
}

// Lookup finds a good row, as row.Append encoded it.
func (t *Table) Lookup(key []byte) (encoded []byte, ok bool) {
	s := t.rows[idOf(key)]
	if s.length == 0 {
		return nil, false
	}
	return t.arena[s.chunk][s.offset : s.offset+s.length], true
}

// Aside tells whether the table has a row of the key that was set aside or left out, and no good one.
func (t *Table) Aside(key []byte) bool {
	s, ok := t.rows[idOf(key)]
	return ok && s.length == 0
}

// Close lets go of the rows.
func (t *Table) Close() error {
	t.rows, t.arena = nil, nil
	return nil
}
