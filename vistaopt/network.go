package vistaopt

import (
	"math"
	"slices"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/onnx"
)

// activationFactor and activationBytes are what a network may need for an image in flight for each byte of its largest set
// of live activations, and beside them: the runtime keeps copies in its own layout. AlexNet, ResNet50 and VGG16 take 0.9 of
// it and 1.2 MiB (peak.go); other networks may keep more.
const activationFactor, activationBytes = 1.3, 1.5 * mib

// NetworkOf is what the choice needs to know of a CNN and of the layers that are asked for, bottom to top, at least one.
func NetworkOf(cnn *layers.CNN, asked []layers.Layer, pool layers.Pool) Network {
	last := asked[len(asked)-1]
	n := Network{Name: cnn.Name, WeightBytes: last.Bytes, LargestWeight: cnn.Model.Graph.LargestWeight(layers.PieceBytes),
		ImageBytes: int64(activationFactor*float64(last.Peak) + activationBytes), ConvBytes: min(convBytes(cnn), last.Bytes), Mapped: true, ActiveBytes: last.Peak, PixelBytes: int64(cnn.Input.H * cnn.Input.W * 3)}
	for _, l := range asked {
		one := Layer{Name: l.Name, MACs: l.MACs, Weights: l.Bytes, Raw: 4 * int64(l.Dim), Pooled: 4 * int64(l.PooledDim(pool))}
		one.Dense, one.RawDense = packed(cnn, l, pool)
		n.Layers = append(n.Layers, one)
		n.RawBytes += one.Raw
		n.PooledBytes += one.Pooled
	}
	return n
}

// What Snappy leaves of a byte: only runs of zeros get smaller, and those come from rectifiers. Measured with random
// weights, of which a rectifier lets half through (trained networks let less: Layer.Left): vectors of fully connected layers behind one 0.667, volumes 0.64 to
// 0.87, everything else 1.00, and a per cent for the keys. The largest value of a quarter of a volume is hardly ever zero.
const (
	packedDense, packedSparse, packedVolume = 1, 0.67, 0.8
)

// mixed is what Snappy leaves of a byte of a record's vector, where it leaves so much of an image's: a value is zero if it is in all of
// the record's images. Two thirds of the zeros are in runs that it finds, as of a rectifier that lets half through.
func (s Stats) mixed(image float64) float64 {
	if s.Average <= 1 || image >= 1 {
		return image
	}
	zero := 1.5 * (1 - image)
	if zero > 0.5 { // of sparser ones the runs are longer, up to where nothing else is left
		zero = 0.5 + (2.0/3-image)/(2.0/3-3.0/64)/2
	}
	zero = min(zero, 1)
	return 1 - (1-image)*math.Pow(zero, s.Average-1)
}

// packed is that of a layer's vector and of what it is pooled from.
func packed(cnn *layers.CNN, l layers.Layer, pool layers.Pool) (vector, whole float64) {
	whole = packedDense
	if rectified(cnn, l.Tensor) {
		whole = packedSparse
		if l.Volume() {
			whole = packedVolume
		}
	}
	if l.Volume() && pool != layers.PoolNone {
		return packedDense, whole
	}
	return whole, whole
}

// rectified tells whether a tensor is what a rectifier lets through, whatever hands it on unchanged.
func rectified(cnn *layers.CNN, tensor string) bool {
	for range 8 {
		i := slices.IndexFunc(cnn.Model.Graph.Nodes, func(n *onnx.Node) bool { return slices.Contains(n.Outputs, tensor) })
		if i < 0 {
			return false
		}
		n := cnn.Model.Graph.Nodes[i]
		switch n.OpType {
		case "Relu":
			return true
		case "Identity", "Dropout", "Flatten", "Reshape", "MaxPool":
			tensor = n.Inputs[0]
		default:
			return false
		}
	}
	return false
}

// convBytes are the weights of a network's convolutions.
func convBytes(cnn *layers.CNN) (sum int64) {
	for _, n := range cnn.Model.Graph.Nodes {
		if n.OpType == "Conv" && len(n.Inputs) > 1 {
			if w := cnn.Model.Graph.Initializer(n.Inputs[1]); w != nil {
				bytes := int64(4)
				for _, d := range w.Dims {
					bytes *= d
				}
				sum += bytes
			}
		}
	}
	return sum
}
