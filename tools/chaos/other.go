//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "chaos: it looks at processes and mounts file systems as Linux has them, and runs there only")
	os.Exit(2)
}
