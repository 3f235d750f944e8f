// Command vista-mr finds out which layer of a convolutional network gives features that make a model on
// a table better. This file is the process: it hands over arguments and streams and ends with the exit code.
package main

import (
	"os"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cli"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = ""

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Process{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv, Exit: os.Exit, Version: version}))
}
