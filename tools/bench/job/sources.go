package main

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// perFile is how many images a container file gets, and perGroup a row group of it.
const (
	perFile  = 1000
	perGroup = 250
)

// sources runs the same job on the same images in a folder, in tar and Parquet files and in packed shards, in turns.
// AlexNet up to one layer is the quickest network of the roster, so that reading counts for the most it can.
func (b *bench) sources(ctx context.Context) error {
	b.records = cmp.Or(b.records, 10000)
	data, err := b.data(ctx, b.records)
	if err != nil {
		return err
	}
	folder := filepath.Join(data, "images")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var files []string
	for _, e := range entries {
		files = append(files, filepath.Join(folder, e.Name()))
	}
	uris := map[string]string{"folder": folder}
	for name, write := range map[string]func(name string, files []string) error{"tar": writeTar, "parquet": writeParquet} {
		uris[name] = filepath.Join(data, name)
		if err := os.MkdirAll(uris[name], 0o777); err != nil {
			return err
		}
		i := 0
		for some := range slices.Chunk(files, perFile) {
			if err := write(filepath.Join(uris[name], fmt.Sprintf("part-%05d.%s", i, name)), some); err != nil {
				return err
			}
			i++
		}
	}
	uris["pack"] = filepath.Join(data, "packed")
	if _, err := run(ctx, exec.CommandContext(ctx, b.bin, "pack", folder, uris["pack"])); err != nil {
		return err
	}
	names := []string{"folder", "tar", "parquet", "pack"}
	took := map[string][]usage{}
	for i := range b.rounds + 1 {
		for _, name := range names {
			u, err := b.submit(ctx, "sources-"+name, data, "alexnet", "", "--set", "images.uri="+uris[name], "--set", "cnn.layers=1")
			if err != nil {
				return err
			}
			note := ""
			if i == 0 {
				note = "  (first, not counted)"
			} else {
				took[name] = append(took[name], u)
			}
			fmt.Printf("sources alexnet, %5d records, %-7s: %s%s\n", b.records, name, u, note)
		}
	}
	for _, name := range names[1:] {
		fmt.Printf("sources alexnet, %5d records, medians: %-7s takes %.3f of the folder's time, %.3f of its CPU time\n", b.records, name,
			median(took[name], seconds)/median(took["folder"], seconds), median(took[name], cpu)/median(took["folder"], cpu))
	}
	return nil
}

func writeTar(name string, files []string) (err error) {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	defer func() { err = errors.Join(err, w.Close(), out.Close()) }()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.Base(f), Size: int64(len(data)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// parquetRow is what Hugging Face and most others write: the key, and the bytes of the image.
type parquetRow struct {
	ID    string `parquet:"id"`
	Image []byte `parquet:"image,snappy"`
}

func writeParquet(name string, files []string) (err error) {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	w := parquet.NewGenericWriter[parquetRow](out, parquet.MaxRowsPerRowGroup(perGroup))
	defer func() { err = errors.Join(err, w.Close(), out.Close()) }()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		base := filepath.Base(f)
		if _, err := w.Write([]parquetRow{{strings.TrimSuffix(base, filepath.Ext(base)), data}}); err != nil {
			return err
		}
	}
	return nil
}
