package layers

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// sequential is a chain whose nodes have the names that TorchScript's exporter gives to those of nn.Sequential.
func sequential(n int) *onnx.Model {
	m := chain(n, "Conv")
	for i, node := range m.Graph.Nodes {
		node.Name = fmt.Sprintf("/%d/Conv", i)
		if i > 0 {
			node.Inputs = append(node.Inputs, "one")
		}
	}
	m.Graph.Initializers = append(m.Graph.Initializers, onnx.Floats("one", []int64{2, 2, 1, 1}, 1, 0, 0, 1))
	return m
}

func opened(t *testing.T, m *onnx.Model) *CNN {
	t.Helper()
	c, err := Open(t.Context(), fileOf(m))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSelectModuleBeforeIndex(t *testing.T) {
	c := opened(t, sequential(3))
	for name, want := range map[string]string{"1": "t1", "3": "t3", "-1": "t3", "-4": "t0"} {
		if l, err := c.Select(name); err != nil || l[0].Tensor != want {
			t.Errorf("%s: %v %v, want %s", name, l, err, want)
		}
	}
	if _, err := c.Select("4"); err == nil || !strings.Contains(err.Error(), "count from -1") {
		t.Errorf("a number that is no module: %v", err)
	}
}

func TestSelectMany(t *testing.T) {
	c := opened(t, sequential(3000))
	names := make([]string, len(c.Layers))
	for i := range names {
		names[i] = fmt.Sprint(len(names) - 1 - i) // as module paths
	}
	if l, err := c.Select(names...); err != nil || len(l) != len(names) || l[0].Tensor != "t0" {
		t.Errorf("all layers: %d %v", len(l), err)
	}
	for i := range names {
		names[i] = fmt.Sprintf("q%x", i)
	}
	if _, err := c.Select(names...); err == nil || strings.Count(err.Error(), "has no layer") != maxProblems || !strings.Contains(err.Error(), "2981 names behind") {
		t.Errorf("names of no layers: %.300v", err)
	}
}

func fileOf(m *onnx.Model) Source {
	data := m.Marshal()
	return Source{Model: "m.onnx", Size: 32, Read: func(context.Context, string) ([]byte, error) { return data, nil }}
}
