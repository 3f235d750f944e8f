#!/bin/sh
# Fuzzes every target of the tree for a while: run.sh [TIME], 60s if it is left out. As many targets run at once as
# there are cores, one worker each. What a target finds stays in its package's testdata/fuzz, to be mended and kept.
set -eu
cd "$(dirname "$0")/../.."
time=${1:-60s}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do echo "$dir $target"; done
done >"$logs/targets"
[ -s "$logs/targets" ] || { echo "fuzz: no target was found" >&2; exit 1; }

# Compiled beforehand: the time is for fuzzing.
go vet $(cut -d' ' -f1 "$logs/targets" | sort -u) >/dev/null
export time logs
xargs -P "$cores" -L 1 sh -c '
	log="$logs/$(echo "$0-$1" | tr -c "A-Za-z0-9\n" -)"
	if go test -run "^\$" -fuzz "^$1\$" -fuzztime "$time" -parallel 1 "$0" >"$log" 2>&1; then
		echo "fuzz: $0 $1: $(grep -o "execs: [0-9]*" "$log" | tail -n 1), nothing found"
	else
		echo "fuzz: $0 $1: FAILED"
		sed "s/^/    /" "$log"
		echo "$0 $1" >>"$logs/failed"
	fi' <"$logs/targets"
n=$(wc -l <"$logs/targets")
if [ -s "$logs/failed" ]; then
	echo "fuzz: $(wc -l <"$logs/failed") of $n targets found something:"
	cat "$logs/failed"
	exit 1
fi
echo "fuzz: $n targets, nothing found in $time each"
