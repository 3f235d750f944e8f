package check

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestEveryErrorIDIsExplained: an id that users meet stands in docs/errors.md, and no other does.
func TestEveryErrorIDIsExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(E-[A-Z0-9-]+)` \\|").FindAllSubmatch(page, -1) {
		explained[string(m[1])] = true
	}
	id := regexp.MustCompile(`^E-[A-Z0-9]+(-[A-Z0-9]+)*$`)
	used := map[string]bool{}
	files, _ := source(t)
	for _, f := range files {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(lit.Value); err == nil && id.MatchString(text) {
				used[text] = true
				if !explained[text] {
					t.Errorf("%s: %s is not explained in docs/errors.md", f.name, text)
				}
			}
			return true
		})
	}
	for name := range explained {
		if !used[name] {
			t.Errorf("docs/errors.md explains %s, which nothing uses", name)
		}
	}
}
