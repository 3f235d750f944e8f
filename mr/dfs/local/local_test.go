package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/dfstest"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// localCase has two clients on one folder. With hidden it is as on a file system without
// unnamed files.
func localCase(sync, hidden bool) dfstest.Case {
	client := func(root string) *FS {
		fs := New(root, sync)
		fs.hidden = hidden
		return fs
	}
	return dfstest.Case{
		New:   func(t testing.TB) dfs.FS { return client(filepath.Join(t.TempDir(), "not/yet/there")) },
		Other: func(_ testing.TB, fs dfs.FS) dfs.FS { return client(fs.(*FS).root) },
	}
}

func TestConformance(t *testing.T)                { dfstest.Run(t, localCase(false, false)) }
func TestConformanceWithSync(t *testing.T)        { dfstest.Run(t, localCase(true, false)) }
func TestConformanceWithHiddenFiles(t *testing.T) { dfstest.Run(t, localCase(false, true)) }

func BenchmarkFS(b *testing.B) {
	b.Run("sync=false", func(b *testing.B) { dfstest.Bench(b, localCase(false, false)) })
	b.Run("sync=true", func(b *testing.B) { dfstest.Bench(b, localCase(true, false)) })
}

// names are all names below a folder, hidden ones too.
func names(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(p, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func list(t *testing.T, fs dfs.FS, dir dfs.Path) ([]dfs.Path, error) {
	t.Helper()
	var out []dfs.Path
	for info, err := range fs.List(t.Context(), dir) {
		if err != nil {
			return out, err
		}
		out = append(out, info.Path)
	}
	return out, nil
}

func TestHiddenFilesAreCleanedUpAndNotShown(t *testing.T) {
	root := t.TempDir()
	fsys := New(root, false)
	fsys.hidden = true
	w, err := fsys.Create(t.Context(), "out/part")
	if err != nil {
		t.Fatal(err)
	}
	all := names(t, root)
	if len(all) != 1 || !isTemp(path.Base(all[0])) {
		t.Fatalf("unfinished: %q, want one hidden name", all)
	}
	if shown, err := list(t, fsys, ""); len(shown) > 0 || err != nil {
		t.Errorf("listed %q, %v", shown, err)
	}
	for what, err := range map[string]error{
		"open":   second(fsys.Open(t.Context(), dfs.Path(all[0]))),
		"stat":   second(fsys.Stat(t.Context(), dfs.Path(all[0]))),
		"create": second(fsys.Create(t.Context(), dfs.Path(all[0]))),
		"claim":  fsys.Claim(t.Context(), dfs.Path(all[0])),
		"remove": fsys.Remove(t.Context(), dfs.Path(all[0])),
	} {
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s of a hidden name: %v, want invalid", what, err)
		}
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if all := names(t, root); len(all) > 0 {
		t.Errorf("after abort: %q", all)
	}
	// What looks alike but is the user's is shown.
	for _, p := range []dfs.Path{".tmp-report", ".tmp-0123456789abcdefx", ".tmp-0123456789abcdeX", ".tmp-0123456789abcdef/image.jpg"} {
		if err := dfs.WriteFile(t.Context(), fsys, p, nil); err != nil {
			t.Error(err)
		}
	}
	if shown, err := list(t, fsys, ""); len(shown) != 4 || err != nil {
		t.Errorf("listed %q, %v", shown, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRenameWhereLinksAreMissing(t *testing.T) {
	root := t.TempDir()
	for i, want := range []errs.Kind{errs.Unknown, errs.Exist} {
		tmp := filepath.Join(root, fmt.Sprint("tmp", i))
		if err := os.WriteFile(tmp, []byte{byte(i)}, 0o666); err != nil {
			t.Fatal(err)
		}
		err := wrap("commit", "part", renameExclusive(tmp, filepath.Join(root, "part")))
		if errs.KindOf(err) != want || (err == nil) != (want == errs.Unknown) {
			t.Errorf("rename %d: %v, want kind %v", i, err, want)
		}
	}
	if data, err := os.ReadFile(filepath.Join(root, "part")); err != nil || data[0] != 0 {
		t.Errorf("got %v, %v; want the first file's", data, err)
	}
}

// Two links in each folder to the next one are 2^n paths; a few links to all of the data are what people have.
func TestLinksToTheSameFolders(t *testing.T) {
	// tree has so many files in the first of its folders, and links in the others to one of them.
	tree := func(folders, files int, links ...string) dfs.FS {
		root := t.TempDir()
		var all []error
		for i := range folders {
			dir := filepath.Join(root, fmt.Sprintf("d%02d", i))
			all = append(all, os.Mkdir(dir, 0o777))
			for _, name := range links {
				if i > 0 {
					to := 0
					if len(links) > 1 {
						to = i - 1
					}
					all = append(all, os.Symlink(fmt.Sprintf("../d%02d", to), filepath.Join(dir, name)))
				}
			}
		}
		for i := range files {
			all = append(all, os.WriteFile(filepath.Join(root, "d00", fmt.Sprintf("%04d.jpg", i)), nil, 0o666))
		}
		if err := errors.Join(all...); err != nil {
			t.Fatal(err)
		}
		return New(root, false)
	}
	got, err := list(t, tree(24, 1, "a", "b"), "")
	var e *errs.Error
	if !errors.As(err, &e) || e.Kind != errs.Invalid || e.Hint() == "" || len(got) > freeAgain+timesAgain*100 {
		t.Errorf("%d paths, %v", len(got), err)
	}
	const files, links = 700, 16 // more than freeAgain
	got, err = list(t, tree(1+links, files, "latest"), "")
	if err != nil || len(got) != (1+links)*files {
		t.Errorf("%d paths, %v", len(got), err)
	}
}

func TestLinks(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	fsys := New(root, false)
	for _, err := range []error{
		os.WriteFile(filepath.Join(elsewhere, "b.jpg"), []byte("b"), 0o666),
		os.WriteFile(filepath.Join(root, "a.jpg"), []byte("a"), 0o666),
		os.Symlink(elsewhere, filepath.Join(root, "disk2")),
		os.Symlink("a.jpg", filepath.Join(root, "again.jpg")),
		os.Symlink("nothing", filepath.Join(root, "dangling")),
		os.Symlink("a.jpg/below", filepath.Join(root, "dangling2")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := list(t, fsys, "")
	if want := []dfs.Path{"a.jpg", "again.jpg", "disk2/b.jpg"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if data, err := dfs.ReadFile(t.Context(), fsys, "disk2/b.jpg", 10); err != nil || string(data) != "b" {
		t.Errorf("through a link: %q, %v", data, err)
	}
	for _, target := range []string{root, ".", elsewhere} { // the last is linked from root already
		loop := filepath.Join(elsewhere, "loop")
		if err := os.Symlink(target, loop); err != nil {
			t.Fatal(err)
		}
		// Found at once: going round until the system objects would take for ever with two links.
		if got, err := list(t, fsys, ""); !errs.Is(err, errs.Invalid) || len(got) > 2 {
			t.Errorf("a circle through %s: %q, %v; want invalid", target, got, err)
		}
		if err := os.Remove(loop); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("self", filepath.Join(root, "self")); err != nil {
		t.Fatal(err)
	}
	if got, err := list(t, fsys, ""); err != nil || len(got) != 3 {
		t.Errorf("a link to itself: %q, %v; want the other three", got, err)
	}
}

func TestWhatIsNoRegularFile(t *testing.T) {
	root := t.TempDir()
	fsys := New(root, false)
	if err := unix.Mkfifo(filepath.Join(root, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	t.Chdir(root) // the path of a socket must be short
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "socket"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []dfs.Path{"pipe", "socket"} { // the first must not wait for a writer, the second cannot be opened
		if _, err := fsys.Open(t.Context(), name); !errs.Is(err, errs.Invalid) || !errors.Is(err, ErrNotRegular) {
			t.Errorf("open of a %s: %v, want invalid", name, err)
		}
	}
	if got, err := list(t, fsys, ""); len(got) > 0 || err != nil {
		t.Errorf("listed %q, %v", got, err)
	}
	if err := dfs.WriteFile(t.Context(), fsys, "file", nil); err != nil {
		t.Fatal(err)
	}
	if err := dfs.WriteFile(t.Context(), fsys, "file/below", nil); !errs.Is(err, errs.Invalid) {
		t.Errorf("file below a file: %v, want invalid", err)
	}
	if err := fsys.Claim(t.Context(), dfs.Path(strings.Repeat("x", 300))); !errs.Is(err, errs.Invalid) {
		t.Errorf("name of 300 bytes: %v, want invalid", err)
	}
}

func TestOpenByURI(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	mux := dfs.NewMux(map[string]dfs.OpenFunc{"file": Open})
	if err := os.WriteFile("100%?.csv", []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{"100%?.csv", "./100%?.csv", dir + "/100%?.csv", "file://" + dir + "/100%?.csv", "file://localhost" + dir + "/sub/../100%?.csv", "FILE://" + dir + "//100%?.csv"} {
		fsys, p, err := mux.Resolve(t.Context(), uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		if data, err := dfs.ReadFile(t.Context(), fsys, p, 10); err != nil || string(data) != "x" {
			t.Errorf("%s: %q, %v", uri, data, err)
		}
	}
	if _, _, err := mux.Resolve(t.Context(), "file://host/a"); !errs.Is(err, errs.Invalid) {
		t.Errorf("a host: %v, want invalid", err)
	}
}

func TestErrorsNameOurPath(t *testing.T) {
	root := t.TempDir()
	fsys := New(root, false)
	fsys.hidden = true
	if err := fsys.Claim(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	err := dfs.WriteFile(t.Context(), fsys, "a/b", nil)
	if got, want := fmt.Sprint(err), "commit: a/b: file exists"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestListWhileFilesGo: a file that is removed during a listing hides none of the others, also
// where links follow it.
func TestListWhileFilesGo(t *testing.T) {
	root, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "x")
	for _, name := range []string{elsewhere, filepath.Join(root, "a"), filepath.Join(root, "b")} {
		if err := os.WriteFile(name, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"c", "d"} {
		if err := os.Symlink(elsewhere, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	var got []dfs.Path
	for info, err := range New(root, false).List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, info.Path); info.Path == "a" {
			if err := os.Remove(filepath.Join(root, "b")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := []dfs.Path{"a", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestReadErrorsHaveAKind: an error of the disk is one of ours, with our path; the end is io.EOF.
func TestReadErrorsHaveAKind(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a"), []byte("abc"), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := New(root, false).Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.ReadAt(make([]byte, 5), 0); n != 3 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var e *errs.Error
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.As(err, &e) || e.Path != "a" || strings.Contains(err.Error(), root) {
		t.Errorf("of a closed file: %v, want an error with our path", err)
	}
	for no, want := range map[syscall.Errno]errs.Kind{syscall.ESTALE: errs.Transient, syscall.EIO: errs.Transient} {
		if err := wrap("read", "a", &os.PathError{Op: "read", Path: "/x", Err: no}); !errs.Is(err, want) {
			t.Errorf("%v is %v, want %v", no, errs.KindOf(err), want)
		}
	}
}

// TestEmptyFoldersAreRemoved with Prune, and those in which something is stay. RemoveAll leaves no folders.
func TestEmptyFoldersAreRemoved(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	f := New(root, false)
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(root, name))
		return err == nil
	}
	for _, p := range []dfs.Path{"a/b/c/d", "a/e"} {
		if err := dfs.WriteFile(t.Context(), f, p, nil); err != nil {
			t.Fatal(err)
		}
	}
	dfs.Prune(t.Context(), f, "a/b/c")
	if !there("a/b/c/d") {
		t.Fatal("a folder with a file in it is gone")
	}
	if err := f.RemoveEmpty(t.Context(), "a/e"); err == nil || !there("a/e") {
		t.Errorf("a file was taken for a folder: %v", err)
	}
	if err := f.RemoveFolder(t.Context(), "a/e"); err != nil || !there("a/e") {
		t.Errorf("a file was taken for a folder: %v", err)
	}
	if err := f.Remove(t.Context(), "a/b/c/d"); err != nil {
		t.Fatal(err)
	}
	dfs.Prune(t.Context(), f, "a/b/c/absent")
	if there("a/b") || !there("a/e") {
		t.Errorf("a/b is there: %v; a/e is there: %v", there("a/b"), there("a/e"))
	}
	if err := dfs.RemoveAll(t.Context(), f, "a"); err != nil || there("a") {
		t.Errorf("after RemoveAll: %v", err)
	}
	if err := f.RemoveFolder(t.Context(), ""); !errs.Is(err, errs.Invalid) {
		t.Errorf("the root: %v", err)
	}
	// The root itself goes, too; and whoever has a file open there that has no name yet, or claims one, makes the folder anew.
	w, err := f.Create(t.Context(), "x/y")
	if err != nil {
		t.Fatal(err)
	}
	dfs.Prune(t.Context(), f, "x")
	if err := w.Commit(t.Context()); err != nil || !there("x/y") {
		t.Errorf("commit: %v", err)
	}
	if err := f.Remove(t.Context(), "x/y"); err != nil {
		t.Fatal(err)
	}
	if dfs.Prune(t.Context(), f, "x"); there(".") {
		t.Error("the root stays")
	}
}

// TestWritersAndPruning: whoever writes and claims while others remove empty folders never fails for that.
func TestWritersAndPruning(t *testing.T) {
	f := New(filepath.Join(t.TempDir(), "root"), false)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				dfs.Prune(t.Context(), f, "a/b")
			}
		}
	})
	for range 300 {
		if err := dfs.WriteFile(t.Context(), f, "a/b/c", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Remove(t.Context(), "a/b/c"), f.Claim(t.Context(), "a/b/c"), f.Remove(t.Context(), "a/b/c")); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}
