// Package check holds the rules of the tree that a compiler does not enforce: who may import whom, what
// every package must have, and what pure packages must not do. Its tests read the source; nothing imports it.
package check

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/vista-mr/vista-mr/"

// file is a source file with the folder of its package, from the module's root.
type file struct {
	dir, name string
	ast       *ast.File
	test      bool
}

// source parses every Go file of the module.
func source(t *testing.T) ([]file, *token.FileSet) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var out []file
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "out" || name == "bin" || name == "build") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		tree, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		out = append(out, file{filepath.ToSlash(dir), path, tree, strings.HasSuffix(name, "_test.go")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("only %d files were found", len(out))
	}
	return out, set
}

// area is the part of the tree that an import rule speaks of.
func area(dir string) string {
	if dir == "vistaopt/compile" || strings.HasPrefix(dir, "vistaopt/compile/") {
		return "vistaopt/compile"
	}
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// mayImport says which areas the code of an area may use beside its own.
var mayImport = map[string][]string{
	"mr": {}, "layers": {}, "lr": {}, "conf": {},
	"jobs":             {"mr", "layers", "lr"},
	"vistaopt":         {"layers"},
	"vistaopt/compile": {"vistaopt", "layers", "jobs", "mr"},
	"tools":            {"mr", "layers", "lr", "conf", "jobs", "vistaopt", "vistaopt/compile"},
}

func TestImportRules(t *testing.T) {
	files, _ := source(t)
	for _, f := range files {
		from := area(f.dir)
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s lies outside the areas that rules are known for", f.name)
			continue
		}
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			rest, ours := strings.CutPrefix(path, module)
			if to := area(rest); ours && to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s: %s may not import %s", f.name, from, rest)
			}
			if path == "C" && f.dir != "layers/ort" {
				t.Errorf("%s: only layers/ort uses cgo", f.name)
			}
		}
	}
}

// saysWhatFor tells whether the file has its package's comment: a test's does not count, because
// go doc does not show it.
func (f *file) saysWhatFor() bool {
	return !f.test && f.ast.Doc != nil && len(f.ast.Doc.Text()) > 80
}

// forTests are packages of test support: code that is no test itself, outside of them, may not
// use them.
var forTests = []string{"mr/dfs/fault", "mr/dfs/fault/sweep", "mr/dfs/dfstest", "mr/dfs/s3/s3test", "mr/mrtest"}

// within says what the packages of the engine may use of it beside mr and mr/errs, which they all
// may: what decides leans on nothing that does, and adapters of a port not on each other. Those
// that are not named here may use what they need.
var within = map[string][]string{
	"mr":            {"mr/dfs", "mr/cache"}, // kinds speak of stores and caches
	"mr/errs":       {},
	"mr/sched":      {"mr/dfs"}, // for paths
	"mr/checksum":   {},
	"mr/journal":    {},
	"mr/cache":      {},
	"mr/blobs":      {"mr/dfs"},
	"mr/avro":       {"mr/dfs"},
	"mr/shuffle":    {"mr/checksum"},
	"mr/dfs":        {},
	"mr/dfs/mem":    {"mr/dfs"},
	"mr/dfs/local":  {"mr/dfs"},
	"mr/dfs/hdfs":   {"mr/dfs"},
	"mr/dfs/s3":     {"mr/dfs"},
	"mr/dfs/probe":  {"mr/dfs"},
	"mr/commit":     {"mr/dfs"},
	"mr/attemptlog": {"mr/dfs"},
	"mr/task":       {"mr/attemptlog", "mr/dfs", "mr/cache", "mr/avro", "mr/checksum", "mr/shuffle"},
	"mr/worker":     {"mr/attemptlog", "mr/commit", "mr/dfs", "mr/sched", "mr/task"},
	"mr/tracker":    {"mr/dfs", "mr/sched", "mr/worker"},
	"mr/status":     {"mr/tracker"},
	"mr/local":      {"mr/sched", "mr/task", "mr/tracker", "mr/worker"},
}

// inner is what is wrong with an import of one of our packages by another one; "": nothing.
func inner(f file, path string) string {
	if f.test || slices.Contains(forTests, f.dir) {
		return ""
	}
	if slices.Contains(forTests, path) {
		return "is for tests"
	}
	allowed, ruled := within[f.dir]
	if !ruled || path == "mr" && f.dir != "mr/errs" || path == "mr/errs" || slices.Contains(allowed, path) {
		return ""
	}
	return "is nothing that it leans on"
}

func TestInnerImportRules(t *testing.T) {
	files, _ := source(t)
	for _, f := range files {
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if rest, ours := strings.CutPrefix(path, module); ours {
				if why := inner(f, rest); why != "" {
					t.Errorf("%s: %s %s", f.name, rest, why)
				}
			}
		}
	}
}

// TestRulesNotice: the rules themselves say no where they should.
func TestRulesNotice(t *testing.T) {
	for _, c := range []struct {
		dir, path string
		test, ok  bool
	}{
		{"mr/sched", "mr/task", false, false},
		{"mr/sched", "mr/commit", false, false},
		{"mr/sched", "mr/errs", false, true},
		{"mr/sched", "mr/dfs/mem", true, true},
		{"mr/dfs", "mr/dfs/local", false, false},
		{"mr/commit", "mr/sched", false, false},
		{"mr/local", "mr/dfs/fault", false, false},
		{"tools/vista-mr", "mr/mrtest", false, false},
		{"tools/vista-mr", "mr/mrtest", true, true},
		{"jobs", "mr/dfs/dfstest", false, false},
		{"mr/mrtest", "mr/local", false, true},
		{"mr/dfs/fault/sweep", "mr/dfs/fault", false, true},
		{"mr/errs", "mr", false, false},
	} {
		if got := inner(file{dir: c.dir, test: c.test}, c.path); got == "" != c.ok {
			t.Errorf("%s imports %s (test: %v): %q, want allowed: %v", c.dir, c.path, c.test, got, c.ok)
		}
	}
	for src, want := range map[string]bool{
		"// Package x is for what is said here, in more than eighty characters of a comment that is long enough.\npackage x": true,
		"// Package x is short.\npackage x": false,
	} {
		tree, err := parser.ParseFile(token.NewFileSet(), "x.go", src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []bool{false, true} {
			f := file{ast: tree, test: test}
			if got := f.saysWhatFor(); got != (want && !test) {
				t.Errorf("%q, test %v: %v", src, test, got)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	files, _ := source(t)
	said := map[string]bool{}
	for _, f := range files {
		if f.saysWhatFor() {
			said[f.dir] = true
		}
	}
	for _, f := range files {
		if !f.test && !said[f.dir] {
			t.Errorf("package %s has no comment that says what it is for", f.dir)
			said[f.dir] = true
		}
	}
}

// pure packages decide and do not look around: no clock, no global randomness, no files.
var pure = []string{"mr/sched", "vistaopt", "vistaopt/plan", "vistaopt/compile", "lr", "lr/optim", "lr/kernel"}

func TestPurePackagesReadNoClockFileOrRandomness(t *testing.T) {
	files, _ := source(t)
	for _, f := range files {
		if f.test || !slices.Contains(pure, f.dir) {
			continue
		}
		for _, spec := range f.ast.Imports {
			switch path := strings.Trim(spec.Path.Value, `"`); path {
			case "time", "os", "math/rand", "math/rand/v2", "net", "net/http", "crypto/rand":
				t.Errorf("%s imports %s", f.name, path)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s starts a goroutine at %d", f.name, g.Pos())
			}
			return true
		})
	}
}

func TestTheProcessEndsOnlyInMain(t *testing.T) {
	files, set := source(t)
	for _, f := range files {
		if f.test || f.ast.Name.Name == "main" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
				x, _ := sel.X.(*ast.Ident)
				if x != nil && (x.Name == "os" && sel.Sel.Name == "Exit" || x.Name == "log" && strings.HasPrefix(sel.Sel.Name, "Fatal")) {
					t.Errorf("%v ends the process outside main", set.Position(call.Pos()))
				}
			}
			return true
		})
	}
}

func TestContextComesFirst(t *testing.T) {
	files, set := source(t)
	for _, f := range files {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncType)
			if !ok || fn.Params == nil {
				return true
			}
			for i, p := range fn.Params.List {
				if i > 0 && strings.Contains(exprString(fn.Params.List[0].Type), "testing.") {
					break // test support takes the test first
				}
				if sel, ok := p.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" && i > 0 {
					if x, _ := sel.X.(*ast.Ident); x != nil && x.Name == "context" {
						t.Errorf("%v: a context is not the first parameter", set.Position(fn.Pos()))
					}
				}
			}
			return true
		})
	}
}

func TestNothingOfThisMachineIsInTheTree(t *testing.T) {
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "bin", "build", "out", "testdata":
				return filepath.SkipDir
			}
			return nil
		}
		if d.Name() == ".git" { // of a second working tree
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > 1<<20 || d.Name() == "go.sum" || d.Name() == "structure_test.go" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, bad := range []string{"/" + "work/", "/" + "root/"} {
			if strings.Contains(string(b), bad) {
				t.Errorf("%s holds a path of one machine: %s", path, bad)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// exprString is a type as far as this file needs it: PACKAGE.NAME, with or without a star.
func exprString(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if sel, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := sel.X.(*ast.Ident); ok {
			return x.Name + "." + sel.Sel.Name
		}
	}
	return ""
}
