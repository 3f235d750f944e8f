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
	found func(*conf.Job) (key, value string) // where a value cannot be used; "" if there is none
	have  string                              // what can be used
}

// limitations lists all of them. What a build learns is removed here.
var limitations = []limitation{
	{func(j *conf.Job) (string, string) {
		for i := range j.CNN {
			if c := &j.CNN[i]; c.Precision != "float32" {
				return c.Key("precision"), c.Precision
			}
		}
		return "", ""
	}, "float32"},
	{func(j *conf.Job) (string, string) { return "reuse", string(j.Reuse) }, "no shared feature store; leave the key out"},
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
		if key, v := l.found(j); v != "" {
			e.Lines = append(e.Lines, fmt.Sprintf("%s: %s is not supported by this version yet; supported: %s", key, v, l.have))
		}
	}
	if len(e.Lines) == 0 {
		return nil
	}
	return exit.As(exit.Invalid, &e)
}
