package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/pack"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

func (a *app) packCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pack URI OUT",
		Short: "Put small images into Avro shards",
		Long: `Put images into Avro shards of 64 to 128 MiB, {id, image}: few large files that are read in order. URI is what
images.uri takes: a folder, tar archives, Avro or Parquet files, also as a pattern. Names and order are kept, and the
images of a record stand side by side.

The same command completes a run that was interrupted: finished shards are not written again. With more images than
before it adds shards for those whose keys are new.`,
		Example: `  vista-mr pack data/images data/packed
  vista-mr pack 'shards/train-{000..127}.tar' data/packed
  vista-mr pack albums data/packed --key folder`,
		Args: arguments(2, "URI", "OUT"),
	}
	key := &choice{value: images.Stem, of: []string{images.Stem, images.Path, images.Folder}, kind: "part"}
	cmd.Flags().Var(key, "key", "what of a file's name is the record's key: "+orList(key.of))
	keyField := cmd.Flags().String("key-field", "", "`column` of Avro and Parquet files with the key")
	imageField := cmd.Flags().String("image-field", "", "`column` of Avro and Parquet files with the image; of tar archives the ending, such as jpg or 'jpg;png'")
	format := a.outputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		sink, _, end := a.reporter()
		defer end()
		s, err := run.Pack(cmd.Context(), images.Spec{URI: args[0], Key: key.value, KeyField: *keyField, ImageField: *imageField}, args[1], sink)
		end()
		if err != nil {
			return err
		}
		if *format == "json" {
			return a.printJSON(struct {
				SchemaVersion int    `json:"schemaVersion"`
				Out           string `json:"out"`
				*pack.Summary
			}{1, args[1], s})
		}
		a.packed(s)
		if err := a.out.Flush(); err != nil {
			return stdoutError(err)
		}
		a.next("vista-mr init FILE, with images.uri: " + args[1])
		return nil
	}
	return cmd
}

// packed prints what a run has done.
func (a *app) packed(s *pack.Summary) {
	fmt.Fprintf(a.out, "source   %s\n", results.Visible(s.Source))
	fmt.Fprintf(a.out, "packed   %s images", results.Count(s.Packed))
	if s.Before > 0 {
		fmt.Fprintf(a.out, "; %s were packed before", results.Count(s.Before))
	}
	fmt.Fprintf(a.out, "\nshards   %s, %s new, %s\n", results.Count(int64(s.Shards)), results.Count(int64(s.New)), bytesize.Nearest(s.Bytes))
	fmt.Fprintf(a.out, "records  %s, %s images\n", results.Count(s.Records), results.Count(s.Images))
	if s.Bad == 0 {
		return
	}
	fmt.Fprintf(a.out, "left out %s images\n", results.Count(s.Bad))
	for _, b := range s.Left {
		fmt.Fprintf(a.out, "  %s: %s\n", results.Visible(b.Key), results.Visible(b.Error))
	}
}
