package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers/onnx"
)

// What is read of a network at most: a file, and all data files of an ONNX model together. ONNX files
// cannot be larger than 2 GiB; no CNN comes near 4 GiB.
const (
	maxModelFile = 4 << 30
	maxModelData = 4 << 30
)

// ReadModel returns what reads a network's files: a model, weights, and the data files beside an ONNX model,
// which are asked for with the model's folder and a plain name. Data files must be regular files of that
// folder, not links of either kind. model is the URI of the model, for the message where it cannot be read.
func ReadModel(model string) func(ctx context.Context, uri string) ([]byte, error) {
	var data func(name string) ([]byte, error)
	main := map[string]bool{}
	limit := int64(maxModelFile)
	if !isFile(model) { // weights of a network of the roster
		limit = maxWeights
	}
	return func(ctx context.Context, uri string) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := conf.URI(uri).LocalPath()
		// The first file of a folder that is asked for is the model or the weights; what follows lies beside it.
		if dir := filepath.Dir(path); main[dir] {
			if data == nil {
				data = onnx.DirReader(dir, maxModelData)
			}
			b, err := data(filepath.Base(path))
			if err != nil {
				return nil, modelError(model, path, "cannot be read as data of the model", err)
			}
			return b, nil
		}
		main[filepath.Dir(path)] = true
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, modelError(model, path, "cannot be read", err)
		case !info.Mode().IsRegular():
			return nil, modelError(model, path, "is not a file", nil)
		case info.Size() > limit:
			return nil, modelError(model, path, fmt.Sprintf("has %d bytes, at most %d are read", info.Size(), limit), nil)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, modelError(model, path, "cannot be read", err)
		}
		return b, nil
	}
}

func modelError(model, path, cause string, err error) error {
	e := &InputError{ID: "E-WEIGHTS", Key: "cnn.weights", Path: path, Cause: cause, Err: err, Next: "give the path of the weights"}
	if isFile(model) {
		e.ID, e.Key, e.Next = "E-MODEL", "cnn.model", "give the path of the model"
	}
	if errors.Is(err, os.ErrNotExist) {
		e.Next += nearHint(path)
	}
	return e
}
