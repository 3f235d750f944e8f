package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestPackAfterKill kills a run without warning once its first shard is there: the next run leaves what a run
// that was not killed leaves, and has not written the first shard again.
func TestPackAfterKill(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // 200 MiB of holes: three shards
		name := filepath.Join(dir, "in", fmt.Sprintf("%02d.jpg", i))
		if err := os.WriteFile(name, fmt.Appendf(nil, "image %d", i), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, 10<<20); err != nil {
			t.Fatal(err)
		}
	}
	pack := func(out string) *exec.Cmd {
		return exec.Command("vista-mr", "pack", filepath.Join(dir, "in"), filepath.Join(dir, out))
	}
	if b, err := pack("whole").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	cmd := pack("killed")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(dir, "killed", "part-00000.avro")
	var before os.FileInfo
	for start := time.Now(); before == nil && time.Since(start) < time.Minute; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(first); err == nil {
			before = info
		}
	}
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
	if before == nil {
		t.Fatal("no shard within a minute")
	}
	if b, err := pack("killed").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if after, err := os.Stat(first); err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the first shard was written again: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "whole", "*"))
	if err != nil || len(names) != 3+3+2 {
		t.Fatalf("%d files, %v; want three shards, three lists of keys, a lookup file and a marker", len(names), err)
	}
	for _, name := range names {
		a, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "killed", filepath.Base(name)))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v", filepath.Base(name), err)
		}
	}
}
