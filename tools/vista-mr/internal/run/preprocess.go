package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/preprocess"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// Bounds on the files that a job names beside its data. The largest network of the roster has 528 MiB; a file
// of half as many bytes that is converted takes no more memory than these.
const (
	maxWeights = 768 << 20
	maxConfig  = 1 << 20
)

// readBounded reads a file of up to limit bytes: its size decides before anything is allocated.
func readBounded(ctx context.Context, uri string, limit int64) ([]byte, error) {
	if conf.URI(uri).Scheme() != "file" {
		fs, p, err := stores().Resolve(ctx, uri)
		if err != nil {
			return nil, err
		}
		return dfs.ReadFile(ctx, fs, p, limit)
	}
	path := conf.URI(uri).LocalPath()
	info, err := os.Stat(path) // before it is opened: a pipe would wait for a writer
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a file")
	case info.Size() > limit:
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", info.Size(), limit)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if err == io.ErrUnexpectedEOF || err == io.EOF { // it was shortened meanwhile
		err = nil
	}
	return b[:n], err
}

// recipe is the preprocessing that a job asks for, for its network.
func recipe(ctx context.Context, j *conf.Job, in layers.InputSpec) (preprocess.Recipe, error) {
	p := j.CNN.Preprocess
	switch {
	case p.Inline != nil:
		s := p.Inline
		return preprocess.Settings{ApplyEXIF: s.EXIF == "apply", Channels: s.Channels, Resize: s.Resize, Crop: s.Crop,
			Interpolation: s.Interpolation, Scale: s.Scale, Mean: s.Mean, Std: s.Std}.Recipe(in.H, in.W)
	case strings.HasSuffix(p.Name, ".json"):
		data, err := readBounded(ctx, p.Name, maxConfig)
		if away(p.Name, err) {
			return preprocess.Recipe{}, elsewhere("cnn.preprocess", p.Name, err)
		}
		if err != nil {
			return preprocess.Recipe{}, &InputError{ID: "E-PREPROCESS", Key: "cnn.preprocess", Path: p.Name, Cause: "cannot be read", Err: err,
				Next: "give the path of the file" + nearHint(conf.URI(p.Name).LocalPath())}
		}
		r, err := preprocess.Parse(data, in.H, in.W)
		if err != nil {
			return r, fmt.Errorf("%s: %w", p.Name, err)
		}
		return r, nil
	}
	return preprocess.Preset(p.Name, in.H, in.W)
}

// trainedWith warns when a network's weights were trained with another preset than the job uses.
func trainedWith(j *conf.Job, cnn *layers.CNN) []string {
	name := j.CNN.Preprocess.Name
	if cnn.Preprocess == "" || cnn.Preprocess == "imagenet" || !strings.HasPrefix(name, "imagenet") || j.CNN.Weights == "random" {
		return nil
	}
	return []string{fmt.Sprintf("%s was trained with preprocess: %s; the job used %s.", cnn.Name, cnn.Preprocess, name)}
}
