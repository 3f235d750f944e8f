package onnx

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"
)

// hashBlock is the piece of a tensor that is hashed at once; part of the definition of the digest.
const hashBlock = 4 << 20

// Digester computes digests of models and remembers those of big tensors, so that the programs cut from
// one network hash its weights once. It is safe for concurrent use.
type Digester struct {
	mu   sync.Mutex
	seen map[bytesKey][32]byte
}

type bytesKey struct {
	p *byte
	n int
}

// Digest returns a SHA-256 over graph and weights: over the model's bytes without comments, metadata and
// the producer's name, in which every tensor of at least 4 KiB stands as the SHA-256 over the SHA-256s of
// its 4 MiB blocks. It is hexadecimal and the same on every machine. Blocks are hashed in parallel.
func (d *Digester) Digest(m *Model) string {
	c := Model{IRVersion: m.IRVersion, Opsets: m.Opsets, Functions: m.Functions, unknown: m.unknown}
	g := *m.Graph
	g.Doc = ""
	c.Graph = &g
	g.Initializers = make([]*Tensor, len(m.Graph.Initializers))
	for i, t := range m.Graph.Initializers {
		if len(t.Raw) < bigPayload {
			g.Initializers[i] = t
			continue
		}
		x := *t
		sum := d.bytes(t.Raw)
		x.Raw = sum[:]
		x.Doc = "digest"
		g.Initializers[i] = &x
	}
	h := sha256.New()
	// A hash never fails to take bytes.
	_, _ = c.WriteTo(h)
	return hex.EncodeToString(h.Sum(nil))
}

// panicked is what a goroutine panicked with.
type panicked struct{ value any }

func (d *Digester) bytes(b []byte) [32]byte {
	key := bytesKey{unsafe.SliceData(b), len(b)}
	d.mu.Lock()
	sum, ok := d.seen[key]
	d.mu.Unlock()
	if ok {
		return sum
	}
	blocks := (len(b) + hashBlock - 1) / hashBlock
	sums := make([]byte, 32*blocks, 32*blocks+8)
	var wg sync.WaitGroup
	var fault atomic.Value
	workers := min(blocks, runtime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			// A mapped file that gets shorter is a fault. It is for the caller to say whether that is an error.
			debug.SetPanicOnFault(true)
			defer func() {
				if r := recover(); r != nil {
					fault.CompareAndSwap(nil, panicked{r})
				}
			}()
			for i := w; i < blocks; i += workers {
				s := sha256.Sum256(b[i*hashBlock : min((i+1)*hashBlock, len(b))])
				copy(sums[32*i:], s[:])
			}
		})
	}
	wg.Wait()
	if p, ok := fault.Load().(panicked); ok {
		panic(p.value)
	}
	sum = sha256.Sum256(binary.LittleEndian.AppendUint64(sums, uint64(len(b))))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[bytesKey][32]byte{}
	}
	d.seen[key] = sum
	return sum
}
