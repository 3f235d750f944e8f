package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
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
		Long: `Show the layers of a network that a job can take features from: the ends of layers and blocks behind which
nothing but one tensor passes on. MODEL is a name of the roster or the path of an ONNX file. VECTOR is the
length of the layer's vector under --pool. MACs, parameters and bytes are those of the network up to the
layer; the share is that of its MACs. A job also takes the name of any other tensor, node or module that
the network can be cut at, and -1, -2, ... for layers from the top.`,
		Example: `  vista-mr model inspect resnet50
  vista-mr model inspect my.onnx -o json | jq -r '.layers[].name'`,
		Args: arguments(1, "MODEL"),
	}
	format := a.outputFlag(cmd, "table", "json")
	pool := &choice{value: string(layers.PoolMax), of: []string{string(layers.PoolNone), string(layers.PoolAvg), string(layers.PoolMax)}, kind: "pooling"}
	cmd.Flags().Var(pool, "pool", "pooling for the length of vectors: "+orList(pool.of))
	size := cmd.Flags().Int("size", 224, "`pixels` of height and width of the images, for a model that leaves them open")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *size < 1 || *size > 4096 {
			return exit.As(exit.Usage, fmt.Errorf("--size %d: it must be between 1 and 4096", *size))
		}
		cnn, err := run.Inspect(cmd.Context(), args[0], *size)
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
				Input         []int       `json:"input"` // channels, height, width
				Layout        string      `json:"layout"`
				Elem          string      `json:"elem"`
				Open          bool        `json:"open"` // the model leaves height and width open
				Pool          string      `json:"pool"`
				Layers        []layerJSON `json:"layers"`
				Unknown       []string    `json:"unknown"` // nodes behind which no layers can be had
			}{1, cnn.Name, []int{cnn.Input.C, cnn.Input.H, cnn.Input.W}, cnn.Input.Layout, cnn.Input.Elem.String(), cnn.Input.Open, pool.value, out, append([]string{}, cnn.Unknown...)})
		}
		fmt.Fprintf(a.Stderr, "%s: %s\n", results.Visible(cnn.Name), cnn.Input)
		for _, n := range cnn.Unknown {
			fmt.Fprintf(a.Stderr, "no layers behind node %s: its effect on shapes is not known\n", results.Visible(n))
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "INDEX\tNAME\tSHAPE\tVECTOR\tMACS\tPARAMETERS\tMiB\tSHARE\tTENSOR")
		for _, l := range out {
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\t%.1f\t%.1f %%\t%s\n", l.Index, results.Visible(l.Name), shapeText(l.Shape), l.PooledDim,
				count(l.MACs), count(l.Params), float64(l.Bytes)/(1<<20), 100*l.Share, results.Visible(l.Tensor))
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

// count is a number as people write it: 4.09 G, 25.6 M.
func count(n int64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if float64(n) >= u.size {
			return fmt.Sprintf("%.3g %s", float64(n)/u.size, u.name)
		}
	}
	return fmt.Sprint(n)
}
