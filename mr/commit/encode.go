package commit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// encode writes a manifest as json.Marshal does, task by task: one of a million tasks has 300 MB, which Marshal would hold
// several times.
func encode(w io.Writer, m *mr.PhaseManifest) error {
	head := *m
	head.Tasks = nil
	data, err := json.Marshal(&head)
	if err != nil {
		return err
	}
	data, ours := bytes.CutSuffix(data, []byte("null}"))
	if !ours {
		return errors.New("tasks are not the last field of a manifest")
	}
	if len(m.Tasks) == 0 {
		if data, err = json.Marshal(m); err == nil {
			_, err = w.Write(data)
		}
		return err
	}
	data = append(data, '[')
	for i := range m.Tasks {
		if i > 0 {
			data = []byte{','}
		}
		task, err := json.Marshal(&m.Tasks[i])
		if err != nil {
			return err
		}
		if _, err := w.Write(append(data, task...)); err != nil {
			return err
		}
	}
	_, err = w.Write([]byte("]}"))
	return err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// measure returns the size and the digest of a manifest.
func measure(m *mr.PhaseManifest) (int64, string, error) {
	sum := sha256.New()
	var n counter
	err := encode(io.MultiWriter(sum, &n), m)
	return int64(n), hex.EncodeToString(sum.Sum(nil)), err
}

// writeManifest creates a file with a manifest.
func (p *Publisher) writeManifest(ctx context.Context, path dfs.Path, m *mr.PhaseManifest) error {
	f, err := p.FS.Create(ctx, path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 256<<10)
	err = encode(w, m)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Commit(ctx)
	}
	if err != nil {
		return errors.Join(err, f.Abort())
	}
	return nil
}
