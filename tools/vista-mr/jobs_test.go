package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vista-mr/vista-mr/layers/ort"
)

// TestJobs runs whole jobs with the real runtime, as a user would at a shell.
func TestJobs(t *testing.T) {
	lib, err := ort.FindLibrary()
	if err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	cache := t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/jobs",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("VISTA_MR_ORT_LIB", lib)
			env.Setenv("VISTA_MR_CACHE", filepath.Join(cache, filepath.Base(env.WorkDir)))
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":      code,
			"interrupt": interrupt,
			"tables":    tables,
			"json":      checkJSON,
			"network":   network,
		},
	})
}
