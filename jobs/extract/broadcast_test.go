package extract

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/mr"
)

func TestTable(t *testing.T) {
	tab := &Table{rows: map[keyID]span{}}
	tab.add(mr.Record{Key: []byte("good"), Value: []byte("0123456789")})
	tab.add(mr.Record{Key: []byte("aside"), Value: row.Aside})
	for key, want := range map[string]string{"good": "0123456789", "aside": "", "none": ""} {
		got, ok := tab.Lookup([]byte(key))
		if string(got) != want || ok != (want != "") || tab.Aside([]byte(key)) != (key == "aside") {
			t.Errorf("%s: %q, %v, aside %v", key, got, ok, tab.Aside([]byte(key)))
		}
	}
}

// A small file can have a million long keys, of rows that nobody uses.
func TestTableHoldsNoKeys(t *testing.T) {
	const keys, each = 10_000, 100
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	tab := &Table{rows: map[keyID]span{}}
	for i := range keys {
		tab.add(mr.Record{Key: fmt.Appendf(bytes.Repeat([]byte("k"), 4080), "%08d", i), Value: row.Aside})
	}
	if got := (heap() - before) / keys; got > each {
		t.Errorf("%d bytes for each key, want at most %d", got, each)
	}
	runtime.KeepAlive(tab)
}
