package preprocess

import (
	"math"
	"strings"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
)

// Parse reads a file that describes a preprocessing, for a network that takes pictures of h x w: the
// preprocessor_config.json of a Hugging Face model, the config.json of a timm model, or a data config as timm's
// resolve_model_data_config returns it. All that is wrong with it is one error.
func Parse(data []byte, h, w int) (Recipe, error) {
	o, err := parse(data)
	if err != nil {
		return Recipe{}, err
	}
	var r Recipe
	switch {
	case o.has("pretrained_cfg"):
		r = timmConfig(o)
	case o.has("input_size"):
		r = timmData(o)
		o.rest()
	case o.has("image_processor_type"), o.has("feature_extractor_type"), o.has("do_resize"), o.has("do_normalize"), o.has("size"), o.has("image_mean"):
		r = huggingFace(o)
		o.rest()
	default:
		return Recipe{}, wrong("", "the file has none of the keys by which a Hugging Face or timm file is known (image_processor_type, do_resize, size, pretrained_cfg, input_size)")
	}
	if len(*o.problems) > 0 {
		return Recipe{}, &Error{Problems: *o.problems}
	}
	return finish(r, h, w)
}

// timmConfig reads a timm model's config.json.
func timmConfig(o *object) Recipe {
	o.ignore("architecture", "num_classes", "num_features", "global_pool", "label_names", "label_descriptions", "license", "library_name")
	o.only("model_args", "{}")
	c := o.object("pretrained_cfg")
	c.ignore("url", "file", "hf_hub_id", "hf_hub_filename", "architecture", "tag", "custom_load", "source", "state_dict", "test_input_size", "test_crop_pct",
		"fixed_input_size", "min_input_size", "num_classes", "label_offset", "label_names", "label_descriptions", "pool_size", "first_conv", "classifier",
		"notes", "description", "license", "origin_url", "paper_name", "paper_ids", "has_checkpoint")
	r := timmData(c)
	c.rest()
	o.rest()
	return r
}

// imagenetMean and imagenetStd are what timm takes where a file gives none.
var (
	imagenetMean = []float64{0.485, 0.456, 0.406}
	imagenetStd  = []float64{0.229, 0.224, 0.225}
)

// timmData reads timm's data config, with timm's own values for what is left out.
func timmData(o *object) Recipe {
	size := o.numbers("input_size", 3, true, []float64{3, 224, 224})
	for _, v := range size {
		if v != math.Trunc(v) || v > maxSide || v < 1 {
			o.fail("input_size", "must be channels, height and width up to %d, not %s", maxSide, o.text("input_size"))
			size = []float64{3, 224, 224}
			break
		}
	}
	if size[0] != 3 {
		o.fail("input_size", "has %v channels, 3 are supported", size[0])
	}
	o.ignore("num_classes")
	for _, key := range []string{"crop_border_pixels", "patch_size", "naflex"} {
		o.only(key, "0", "false")
	}
	s := image.Spec{CropH: int(size[1]), CropW: int(size[2]), Interpolation: o.string("interpolation", "bicubic")}
	switch s.Interpolation {
	case "nearest", "bilinear", "bicubic", "box", "hamming", "lanczos":
	default:
		o.fail("interpolation", "is %q, which is not supported (known: nearest, bilinear, bicubic, box, hamming, lanczos)", s.Interpolation)
	}
	pct := o.number("crop_pct", 0.875)
	h, w := math.Floor(size[1]/pct), math.Floor(size[2]/pct)
	if h > maxSide || w > maxSide || h < 1 || w < 1 {
		o.fail("crop_pct", "is %v, which makes pictures of %vx%v", pct, w, h)
		h, w = 1, 1
	}
	switch mode := o.string("crop_mode", "center"); {
	case mode == "squash":
		s.ResizeH, s.ResizeW = int(h), int(w)
	case mode != "center":
		o.fail("crop_mode", "is %q, which is not supported (known: center, squash)", mode)
	case h != w:
		o.fail("input_size", "is not square, which crop_mode center supports only for squares")
	default:
		s.Resize = int(h)
	}
	mean, std := o.numbers("mean", 3, false, imagenetMean), o.numbers("std", 3, true, imagenetStd)
	return Recipe{s, &layers.Normalize{Mean: floats(mean), Std: floats(std), Scale: 1.0 / 255, Channels: "RGB"}}
}

// resamples are PIL's codes of interpolation.
var resamples = map[string]string{"0": "nearest", "1": "lanczos", "2": "bilinear", "3": "bicubic", "4": "box", "5": "hamming"}

// processor is what the type of a Hugging Face image processor stands for where its file says nothing.
type processor struct {
	square   bool // a size given as a number means a square, not the shorter side
	crop     bool // crops unless do_center_crop is false
	pct      bool // takes crop_pct
	flip     bool // turns channels round unless do_flip_channel_order is false
	plain    bool // does not normalise
	top      bool // include_top is true unless it is false
	resample string
}

var processors = map[string]processor{
	"ConvNext":     {pct: true, resample: "bilinear"},
	"ViT":          {square: true, resample: "bilinear"},
	"DeiT":         {square: true, crop: true, resample: "bicubic"},
	"Beit":         {square: true, crop: true, resample: "bicubic"},
	"EfficientNet": {square: true, top: true, resample: "nearest"},
	"CLIP":         {crop: true, resample: "bicubic"},
	"Bit":          {crop: true, resample: "bicubic"},
	"MobileNetV1":  {crop: true, resample: "bilinear"},
	"MobileNetV2":  {crop: true, resample: "bilinear"},
	"MobileViT":    {crop: true, flip: true, plain: true, resample: "bilinear"},
}

// huggingFace reads a preprocessor_config.json. Values that a file leaves out are taken from its processor's type,
// if that is one of the table; otherwise they must be there.
func huggingFace(o *object) Recipe {
	kind := o.string("image_processor_type", o.string("feature_extractor_type", ""))
	o.ignore("feature_extractor_type", "processor_class", "_processor_class", "_valid_processor_keys", "do_convert_rgb", "return_tensors", "device",
		"disable_grouping", "default_to_square", "use_square_size")
	o.only("data_format", `"channels_first"`)
	o.only("input_data_format")
	for _, key := range []string{"do_pad", "do_reduce_labels", "do_thumbnail", "do_align_long_axis", "do_random_crop"} {
		o.only(key, "false")
	}
	o.only("auto_map")
	name, fast := strings.CutSuffix(kind, "Fast")
	name = strings.TrimSuffix(strings.TrimSuffix(name, "ImageProcessor"), "FeatureExtractor")
	p, known := processors[name]
	if kind != "" && !known && (name == "Levit" || name == "PoolFormer" || name == "TimmWrapper") {
		o.fail("image_processor_type", "is %s, whose rules for sizes are not supported", kind)
	}
	// Hugging Face's own processors round down where torchvision, which the fast ones use, rounds to even.
	s := image.Spec{FloorCrop: !fast}
	s.Interpolation = p.resample
	resize := o.bool("do_resize", true)
	switch {
	case o.has("resample"):
		if s.Interpolation = resamples[o.text("resample")]; s.Interpolation == "" {
			o.fail("resample", "is %s, which is none of PIL's codes (0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming)", o.text("resample"))
		}
	case resize && s.Interpolation == "":
		o.fail("resample", "is missing, and what the type %q takes instead is not known", kind)
	}
	huggingFaceSize(o, &s, p, known, resize)
	return Recipe{s, huggingFaceNumbers(o, p)}
}

// huggingFaceSize reads how a picture is resized and cropped.
func huggingFaceSize(o *object, s *image.Spec, p processor, known, resize bool) {
	crop := p.crop
	switch {
	case p.pct:
		o.only("do_center_crop", "false")
		o.ignore("crop_size")
		crop = false
	case known || o.has("do_center_crop"):
		crop = o.bool("do_center_crop", p.crop)
	case o.has("crop_size"):
		o.fail("do_center_crop", "is missing, although there is a crop_size, and the type does not tell")
	}
	if crop {
		s.CropH, s.CropW = o.rectangle("crop_size")
	} else {
		o.ignore("crop_size")
	}
	pct := 0.0
	if p.pct {
		pct = o.number("crop_pct", 224.0/256)
	} else {
		o.only("crop_pct")
	}
	if !resize {
		o.ignore("size")
		return
	}
	shorter := 0
	switch {
	case !o.has("size"):
		o.fail("size", "is missing")
	case o.isNumber("size") && !known:
		o.fail("size", "is a number, and the type does not tell of what: write {\"shortest_edge\": N} or {\"height\": N, \"width\": N}")
	case o.isNumber("size") && !p.square:
		shorter = o.side("size")
	case o.isNumber("size"):
		s.ResizeH = o.side("size")
		s.ResizeW = s.ResizeH
	default:
		if in := o.object("size"); in.has("shortest_edge") {
			shorter = in.side("shortest_edge")
			in.only("longest_edge")
			in.rest()
		} else {
			s.ResizeH, s.ResizeW = o.rectangle("size")
		}
	}
	switch {
	case p.pct && shorter == 0:
		o.fail("size", "must have a shortest_edge with crop_pct")
	case p.pct && shorter < 384:
		s.Resize, s.CropH, s.CropW = int(float64(shorter)/pct), shorter, shorter
	case p.pct: // from 384 on ConvNext's processor does not crop
		s.ResizeH, s.ResizeW, s.CropH, s.CropW = shorter, shorter, shorter, shorter
	case shorter > 0 && !crop:
		o.fail("size", "has only a shortest_edge, and nothing is cropped: pictures would have different sizes")
	case shorter > 0:
		s.Resize = shorter
	case !crop:
		s.CropH, s.CropW = s.ResizeH, s.ResizeW
	}
	if s.Resize > maxSide {
		o.fail("crop_pct", "is %v, which makes pictures of %d pixels", pct, s.Resize)
	}
}

// huggingFaceNumbers reads how bytes become numbers. With include_top EfficientNet's processor divides by the
// deviation once more.
func huggingFaceNumbers(o *object, p processor) *layers.Normalize {
	n := &layers.Normalize{Scale: 1, Channels: "RGB"}
	if o.bool("do_flip_channel_order", p.flip) {
		n.Channels = "BGR"
	}
	factor := o.number("rescale_factor", 1.0/255)
	if o.bool("do_rescale", true) {
		n.Scale = float32(factor)
	}
	mean, std := []float64{0, 0, 0}, []float64{1, 1, 1}
	deviation := std
	normalize := o.bool("do_normalize", !p.plain)
	top := o.bool("include_top", p.top)
	if normalize || top {
		for _, key := range []string{"image_mean", "image_std"} {
			if !o.has(key) {
				o.fail(key, "is missing, and do_normalize is not false")
			}
		}
		m := o.numbers("image_mean", 3, false, mean)
		deviation = o.numbers("image_std", 3, true, std)
		if normalize {
			mean, std = m, deviation
		}
	}
	o.ignore("image_mean", "image_std")
	offset := 0.0
	if o.bool("rescale_offset", false) {
		offset = 1
	}
	for i := range 3 {
		d := std[i]
		if top {
			d *= deviation[i]
		}
		n.Mean = append(n.Mean, float32(mean[i]+offset))
		n.Std = append(n.Std, float32(d))
	}
	return n
}
