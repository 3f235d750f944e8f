package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

func (a *app) modelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Show networks and the layers they can be cut at",
		Args:  a.subcommand,
		RunE:  help,
	}
	cmd.AddCommand(a.modelListCmd(), a.modelInspectCmd())
	return cmd
}

// entryJSON is one network of the roster.
type entryJSON struct {
	Name   string   `json:"name"`
	Input  []int    `json:"input"` // channels, height, width
	Layers []string `json:"layers"`
	Params int64    `json:"params"`
	MACs   int64    `json:"macs"`
}

func (a *app) modelListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the networks that are known by name",
		Example: "  vista-mr model list\n  vista-mr model list -o json | jq -r '.models[].name'",
		Args:    arguments(0),
	}
	format := a.outputFlag(cmd, "table", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		var out []entryJSON
		for _, e := range layers.Roster() {
			out = append(out, entryJSON{e.Name, []int{e.C, e.H, e.W}, e.Layers, e.Params, e.MACs})
		}
		if *format == "json" {
			return a.printJSON(struct {
				SchemaVersion int         `json:"schemaVersion"`
				Models        []entryJSON `json:"models"`
			}{1, out})
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tINPUT\tPARAMETERS\tMACS\tFEATURE LAYERS")
		for _, e := range out {
			fmt.Fprintf(w, "%s\t%dx%dx%d\t%.1f M\t%.2f G\t%s\n", e.Name, e.Input[0], e.Input[1], e.Input[2],
				float64(e.Params)/1e6, float64(e.MACs)/1e9, strings.Join(e.Layers, " "))
		}
		return w.Flush()
	}
	return cmd
}

// layerJSON is one place where a network can be cut.
type layerJSON struct {
	Index     int      `json:"index"`
	Name      string   `json:"name"`
	Tensor    string   `json:"tensor"`
	Aliases   []string `json:"aliases"`
	Shape     []int64  `json:"shape"` // for one image
	Dim       int      `json:"dim"`
	PooledDim int      `json:"pooledDim"` // of the vector under --pool
	MACs      int64    `json:"macs"`
	Params    int64    `json:"params"`
	Bytes     int64    `json:"bytes"`
	Share     float64  `json:"share"`
}

func (a *app) modelInspectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Show the layers of a network that can be cut at",
		Long: `Show every layer of a network behind which nothing but one tensor passes on: those that a job can take
features from. MODEL is a name of the roster or the path of an ONNX file. MACs, parameters and bytes are
those of the network up to the layer; the share is that of its MACs.`,
		Example: `  vista-mr model inspect resnet50
  vista-mr model inspect my.onnx -o json | jq -r '.layers[].name'`,
		Args: arguments(1, "MODEL"),
	}
	format := a.outputFlag(cmd, "table", "json")
	pool := &choice{value: string(layers.PoolMax), of: []string{string(layers.PoolNone), string(layers.PoolAvg), string(layers.PoolMax)}, kind: "pooling"}
	cmd.Flags().Var(pool, "pool", "pooling for the length of vectors: "+orList(pool.of))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		read := func(_ context.Context, uri string) ([]byte, error) { return os.ReadFile(uri) }
		cnn, err := layers.Open(cmd.Context(), layers.Source{Model: args[0], Weights: "random", Read: read})
		if err != nil {
			return exit.As(exit.Invalid, err)
		}
		out := make([]layerJSON, 0, len(cnn.Layers))
		for _, l := range cnn.Layers {
			out = append(out, layerJSON{l.Index, l.Name, l.Tensor, append([]string{}, l.Aliases...), l.Shape, l.Dim,
				l.PooledDim(layers.Pool(pool.value)), l.MACs, l.Params, l.Bytes, l.Share})
		}
		if *format == "json" {
			return a.printJSON(struct {
				SchemaVersion int         `json:"schemaVersion"`
				Model         string      `json:"model"`
				Input         []int       `json:"input"`
				Pool          string      `json:"pool"`
				Layers        []layerJSON `json:"layers"`
			}{1, cnn.Name, []int{cnn.Input.C, cnn.Input.H, cnn.Input.W}, pool.value, out})
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "INDEX\tNAME\tSHAPE\tVECTOR\tMACS\tPARAMETERS\tMiB\tSHARE\tTENSOR")
		for _, l := range out {
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%.3f G\t%.2f M\t%.1f\t%.1f %%\t%s\n", l.Index, printable(l.Name), shapeText(l.Shape), l.PooledDim,
				float64(l.MACs)/1e9, float64(l.Params)/1e6, float64(l.Bytes)/(1<<20), 100*l.Share, printable(l.Tensor))
		}
		return w.Flush()
	}
	return cmd
}

// shapeText is a shape as people write it: 1024x14x14.
func shapeText(shape []int64) string {
	s := make([]string, len(shape))
	for i, d := range shape {
		s[i] = fmt.Sprint(d)
	}
	return strings.Join(s, "x")
}
