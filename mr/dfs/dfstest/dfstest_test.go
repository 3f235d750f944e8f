package dfstest

import "testing"

func TestRequired(t *testing.T) {
	for _, c := range []struct {
		list, store string
		want        bool
	}{
		{"", "hdfs", false}, {"hdfs", "hdfs", true}, {"s3, hdfs", "hdfs", true}, {"all", "s3", true}, {"hdfs", "s3", false}, {"hdfs2", "hdfs", false},
	} {
		if got := required(c.list, c.store); got != c.want {
			t.Errorf("required(%q, %q) = %v", c.list, c.store, got)
		}
	}
}

func TestMissingSkips(t *testing.T) {
	t.Setenv(RequireVar, "s3")
	t.Run("store", func(t *testing.T) {
		t.Cleanup(func() {
			if !t.Skipped() || t.Failed() {
				t.Errorf("skipped %v, failed %v; want a skip", t.Skipped(), t.Failed())
			}
		})
		Missing(t, "hdfs", "no address")
	})
}
