package run

import (
	"fmt"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// limitation is a part of the job file's format that this build cannot carry out. The format is
// older and younger than any build: package conf accepts all of it.
type limitation struct {
	key   string
	found func(*conf.Job) string // the value that cannot be used, or ""
	have  string                 // what can be used
}

// limitations lists all of them. What a build learns is removed here.
var limitations = []limitation{
	{"cnn.precision", other(func(j *conf.Job) string { return j.CNN.Precision }, "float32"), "float32"},
	{"reuse", func(j *conf.Job) string { return string(j.Reuse) }, "no shared feature store; leave the key out"},
}

func other(value func(*conf.Job) string, fine ...string) func(*conf.Job) string {
	return func(j *conf.Job) string {
		v := value(j)
		for _, f := range fine {
			if v == f {
				return ""
			}
		}
		return v
	}
}

// UnsupportedError lists the keys of a well-formed job that this build cannot carry out.
type UnsupportedError struct{ Lines []string }

func (e *UnsupportedError) Error() string {
	return strings.Join(e.Lines, "\n")
}

// Summarized puts the id behind the lines, as for the problems of a job file.
func (e *UnsupportedError) Summarized() {}

// ErrorID is the stable name of the failure.
func (e *UnsupportedError) ErrorID() string { return "E-UNSUPPORTED" }

// Hint says what to do next.
func (e *UnsupportedError) Hint() string {
	return "change the job file, or override the key with --set"
}

// Supported refuses what this build cannot do, all of it at once. Exit class: invalid.
func Supported(j *conf.Job) error {
	var e UnsupportedError
	for _, l := range limitations {
		if v := l.found(j); v != "" {
			e.Lines = append(e.Lines, fmt.Sprintf("%s: %s is not supported by this version yet; supported: %s", l.key, v, l.have))
		}
	}
	if len(e.Lines) == 0 {
		return nil
	}
	return exit.As(exit.Invalid, &e)
}
