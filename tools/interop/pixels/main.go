// Command pixels decodes pictures exactly as a finished job did: the program behind a check, outside of
// Go, that best-pipeline.onnx gives the job's own predictions.
//
// It reads file paths from standard input, a line each, and writes for each picture its height x width x
// 3 bytes to standard output, in the same order. A picture that the job could not have used ends it.
//
//	pixels out/foods/results.json <paths >pixels.raw
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers/image"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pixels RESULTS.JSON <PATHS >PIXELS")
		os.Exit(2)
	}
	if err := decode(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pixels:", err)
		os.Exit(1)
	}
}

func decode(file string, paths io.Reader, to io.Writer) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	s, err := results.Parse(data)
	if err != nil {
		return err
	}
	if s.Pipeline == nil {
		return fmt.Errorf("%s has no pipeline", file)
	}
	how := s.Pipeline.Preprocess
	choice := image.Go
	if s.Versions.Decoder == "turbo" {
		choice = image.Turbo
	}
	p, err := image.NewPipeline(image.Spec{Resize: how.Resize, Stretch: how.Stretch, Exact: how.Exact, Interpolation: how.Interpolation,
		CropH: how.Height, CropW: how.Width, ApplyEXIF: how.EXIF == "apply"}, choice)
	if err != nil {
		return err
	}
	defer p.Close()
	out := bufio.NewWriterSize(to, 1<<20)
	pixels := make([]byte, how.Height*how.Width*3)
	in := bufio.NewScanner(paths)
	for in.Scan() {
		src, err := os.ReadFile(in.Text())
		if err != nil {
			return err
		}
		if _, err := p.Process(pixels, src); err != nil {
			return fmt.Errorf("%s: %w", in.Text(), err)
		}
		if _, err := out.Write(pixels); err != nil {
			return err
		}
	}
	return errors.Join(in.Err(), out.Flush())
}
