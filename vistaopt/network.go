package vistaopt

import "github.com/vista-mr/vista-mr/layers"

// activationFactor is how many bytes a network needs for an image in flight for each byte of its largest set of live
// activations: the runtime keeps copies in its own layout. Measured for AlexNet, ResNet50 and VGG16; docs/runtime.md has
// the figures.
const activationFactor = 2.5

// NetworkOf is what the choice needs to know of a CNN and of the layers that are asked for, bottom to top, at least one.
func NetworkOf(cnn *layers.CNN, asked []layers.Layer, pool layers.Pool) Network {
	last := asked[len(asked)-1]
	n := Network{Name: cnn.Name, WeightBytes: last.Bytes, LargestWeight: cnn.Model.Graph.LargestWeight(layers.PieceBytes),
		ImageBytes: int64(activationFactor * float64(last.Peak)), ActiveBytes: last.Peak, PixelBytes: int64(cnn.Input.H * cnn.Input.W * 3)}
	for _, l := range asked {
		one := Layer{Name: l.Name, MACs: l.MACs, Weights: l.Bytes, Raw: 4 * int64(l.Dim), Pooled: 4 * int64(l.PooledDim(pool))}
		n.Layers = append(n.Layers, one)
		n.RawBytes += one.Raw
		n.PooledBytes += one.Pooled
	}
	return n
}
