package run

import (
	"context"
	"fmt"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/preprocess"
)

// Bounds on the files that a job names beside its data. The largest network of the roster has 528 MiB; a file
// of half as many bytes that is converted takes no more memory than these.
const (
	maxWeights = 768 << 20
	maxConfig  = 1 << 20
)

// recipe is the preprocessing that a job asks for, for its network.
func recipe(ctx context.Context, c *conf.CNN, in layers.InputSpec) (preprocess.Recipe, error) {
	p := c.Preprocess
	switch {
	case p.Inline != nil:
		s := p.Inline
		return preprocess.Settings{ApplyEXIF: s.EXIF == "apply", Channels: s.Channels, Resize: s.Resize, Crop: s.Crop,
			Interpolation: s.Interpolation, Scale: s.Scale, Mean: s.Mean, Std: s.Std}.Recipe(in.H, in.W)
	case strings.HasSuffix(p.Name, ".json"):
		data, err := readBounded(ctx, p.Name, maxConfig)
		if away(p.Name, err) {
			return preprocess.Recipe{}, elsewhere(c.Key("preprocess"), p.Name, err)
		}
		if err != nil {
			return preprocess.Recipe{}, &InputError{ID: "E-PREPROCESS", Key: c.Key("preprocess"), Path: p.Name, Cause: "cannot be read", Err: err,
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
func trainedWith(c *conf.CNN, cnn *layers.CNN) []string {
	name := c.Preprocess.Name
	if cnn.Preprocess == "" || cnn.Preprocess == "imagenet" || !strings.HasPrefix(name, "imagenet") || c.Weights == "random" {
		return nil
	}
	return []string{fmt.Sprintf("%s was trained with preprocess: %s; the job used %s.", cnn.Name, cnn.Preprocess, name)}
}
