//go:build !linux && !darwin

package local

import (
	"errors"
	"os"
)

func openUnnamed(string) *os.File { return nil }

func linkUnnamed(*os.File, string) error { return errors.ErrUnsupported }

func renameExclusive(_, _ string) error { return errors.ErrUnsupported }
