package run

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/export"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// The pipeline of the winning layer in the output, and its weights where they do not fit into it.
const (
	PipelineFile        = "models/best-pipeline.onnx"
	PipelineWeightsFile = "best-pipeline.weights" // beside it
)

// maxModel is what a protobuf message may have: readers keep lengths in 32 bits with a sign.
const maxModel = 1<<31 - 1

// maxGraph bounds a program without its weights, which the run itself has written.
const maxGraph = 1 << 30

// pipeline writes the network up to the best layer and the model behind it as one file. The network comes
// from the program in the run's folder; its weights go from file to file through a buffer.
func (w *publisher) pipeline(ctx context.Context) (err error) {
	best := w.report.Verdict.Best
	at := slices.IndexFunc(w.report.Targets, func(t evaluate.Target) bool { return t.Name == best })
	n, out := w.of(best)
	if at < 0 || n == nil {
		return errs.E("pipeline", errs.Internal, "", fmt.Errorf("nothing is known of the best layer %q", best))
	}
	dir := dfs.Path(modelsFolder)
	data, err := dfs.ReadFile(ctx, w.store, dir.Join(string(modelFile(n.Whole.Digest))), maxGraph)
	if err != nil {
		return err
	}
	program, err := onnx.Parse(data)
	if err != nil {
		return errs.E("pipeline", errs.Corrupt, string(modelFile(n.Whole.Digest)), err)
	}
	m := w.model(&w.report.Targets[at])
	model, err := export.Pipeline(program, n.Whole.Out[out].Name, m, &n.Preprocess)
	if err != nil {
		return errs.E("pipeline", errs.Internal, "", err)
	}
	names := export.Outputs(m.Model.Kind)
	w.made = &results.Pipeline{File: PipelineFile, Layer: best, Outputs: names[:], Preprocess: n.Preprocess}
	if several := w.j.Images.Multiple; several == images.Mean || several == images.Max { // the file takes one image
		w.made.Multiple = several
		model.Metadata = append(model.Metadata, onnx.Entry{Key: "images.multiple", Value: several})
	}
	var files []io.Closer
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	attached, err := model.Attach(func(location string) (io.ReaderAt, int64, error) {
		f, err := w.store.Open(ctx, dir.Join(location))
		if err != nil {
			return nil, 0, err
		}
		files = append(files, f)
		return f, f.Size(), nil
	})
	if err != nil {
		return errs.E("pipeline", errs.KindOf(err), "", err)
	}
	return w.writePipeline(ctx, attached, maxModel)
}

// writePipeline writes one file, or two where one would be larger than limit. The file that names the
// other comes last.
func (w *publisher) writePipeline(ctx context.Context, m *onnx.Attached, limit int64) error {
	weights := dfs.Path(PipelineFile).Dir().Join(PipelineWeightsFile)
	if err := w.out.Remove(ctx, weights); err != nil { // of a publication that was interrupted
		return err
	}
	if m.Size() <= limit {
		return w.stream(ctx, PipelineFile, func(to io.Writer) error { _, err := m.WriteTo(to); return err })
	}
	w.made.Weights = string(weights)
	return w.stream(ctx, PipelineFile, func(graph io.Writer) error {
		return w.stream(ctx, weights, func(data io.Writer) error {
			return m.WriteExternal(graph, data, PipelineWeightsFile, minExternal)
		})
	})
}

// stream makes a file of the output like write, from what fn writes.
func (w *publisher) stream(ctx context.Context, name dfs.Path, fn func(io.Writer) error) error {
	return w.claim.replace(ctx, w.out, name, nil, func() error { return w.streamOnce(ctx, name, fn) })
}

func (w *publisher) streamOnce(ctx context.Context, name dfs.Path, fn func(io.Writer) error) error {
	out, err := w.out.Create(ctx, name)
	if err != nil {
		return err
	}
	sum := sha256.New()
	b := bufio.NewWriterSize(io.MultiWriter(out, sum), 1<<20)
	if err = fn(b); err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = out.Commit(ctx)
	}
	if err != nil {
		return errors.Join(errs.E("write", errs.KindOf(err), string(name), err), out.Abort())
	}
	w.digest(name, sum.Sum(nil))
	return nil
}
