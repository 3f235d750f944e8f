package run

import (
	"context"
	"fmt"
	"os"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// checkRuntime sees to it that there is an ONNX Runtime library of a version that fits.
func checkRuntime(_ context.Context, _ *conf.Job, o *Options, _ *findings) (string, error) {
	path, version, err := ort.CheckLibrary(o.ORTLib)
	if err != nil {
		return "", err
	}
	o.ortVersion = version
	return path + ", version " + version, nil
}

// enoughAddresses refuses where the process's own limit leaves too little for any job: the library alone might end the process there when it is
// loaded, before there is a plan to refuse.
func enoughAddresses() error {
	n, own := machine.Least()
	if !own.TooLittle() {
		return nil
	}
	return exit.As(exit.Infeasible, &errs.Error{Op: "plan", Kind: errs.Invalid, ID: "E-INFEASIBLE", Fix: own.Raise(memoryLeast),
		Err: fmt.Errorf("no plan fits: not more than %s is available to this process", bytesize.AtMost(n))})
}

// decoderVariable names the JPEG decoder: it is a matter of the machine and not of the job file.
const decoderVariable = "VISTA_MR_JPEG"

// checkDecoder sees to it that the JPEG decoder that is asked for can be had.
func checkDecoder(context.Context, *conf.Job, *Options, *findings) (string, error) {
	name := os.Getenv(decoderVariable)
	fail := func(cause, next string) (string, error) {
		return "", &InputError{ID: "E-DECODER", Key: "JPEG decoder", Path: decoderVariable + "=" + name, Cause: cause, Next: next}
	}
	choice, err := extract.Decoder(name)
	if err != nil {
		return fail("names none of go, turbo and auto", "set "+decoderVariable+" to one of them, or leave it out")
	}
	version, ok := image.TurboAvailable()
	switch {
	case choice == image.Go:
		return "go", nil
	case ok:
		return "turbo (TurboJPEG API " + version + ")", nil
	case choice == image.Turbo:
		return fail("libjpeg-turbo cannot be loaded", "install libturbojpeg (Debian: libturbojpeg0), or leave "+decoderVariable+" out")
	}
	return "go", nil
}
