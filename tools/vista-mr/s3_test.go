package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/s3"
	"github.com/vista-mr/vista-mr/mr/dfs/s3/s3test"
)

// TestS3 runs jobs and commands on real servers.
func TestS3(t *testing.T) {
	for _, kind := range s3test.Kinds {
		t.Run(kind, func(t *testing.T) {
			server := s3test.Start(t, kind)
			lib, err := ort.FindLibrary()
			if err != nil {
				t.Skipf("needs the ONNX Runtime library: %v", err)
			}
			cache := t.TempDir()
			var folders atomic.Int64
			testscript.Run(t, testscript.Params{
				Dir:                 "testdata/s3",
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Setup: func(env *testscript.Env) error {
					env.Setenv("VISTA_MR_ORT_LIB", lib)
					env.Setenv("VISTA_MR_CACHE", cache)
					env.Setenv("FOLDER", fmt.Sprintf("%s-%d", filepath.Base(env.WorkDir), folders.Add(1)))
					env.Vars = append(env.Vars, server.Vars()...)
					return nil
				},
				Condition: condition,
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"code":   code,
					"json":   checkJSON,
					"upload": upload,
				},
			})
		})
	}
}

// upload puts the files of a folder into the bucket: upload DIR FOLDER.
func upload(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: upload DIR FOLDER")
	}
	store, err := s3.New(s3test.Bucket, dfs.Path(args[1]), s3.Config{Env: ts.Getenv})
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return dfs.WriteFile(context.Background(), store, dfs.Path(filepath.ToSlash(rel)), b)
	}))
}
