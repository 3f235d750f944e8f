#!/bin/sh
# Fuzzes every target of the tree, or of the folders that are named, for a while: run.sh [TIME [FOLDER...]], TIME is 60s
# if it is left out. As many targets run at once as there are cores, one worker each, within memory of their own.
# What a target finds stays in its package's testdata/fuzz, to be mended and kept. What it learns stays in build/fuzz
# and is where the next run begins.
set -eu
cd "$(dirname "$0")/../.."
time=${1:-60s}
[ $# -eq 0 ] || shift
case $time in
*[!0-9]?* | ?*[!0-9smh] | [!0-9]*) echo "fuzz: \"$time\" is no time; give it as 90s, 10m or 1h" >&2; exit 2 ;;
*h) seconds=$((${time%h} * 3600)) ;;
*m) seconds=$((${time%m} * 60)) ;;
*s) seconds=${time%s} ;;
*) echo "fuzz: \"$time\" has no unit; give it as 90s, 10m or 1h" >&2; exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
root=$PWD
export root work time

for folder in "${@:-.}"; do
	grep -rlE --include='*_test.go' '^func Fuzz' "$folder" | while read -r file; do dirname "${file#./}"; done
done | sort -u >"$work/packages"
[ -s "$work/packages" ] || { echo "fuzz: no target was found" >&2; exit 1; }

# One program for each package, with the instrumentation that guides the fuzzer, made before the time begins.
while read -r dir; do
	name=$(echo "$dir" | tr / -)
	go test -c -fuzz=. -ldflags='-s -w' -o "$work/$name.test" "./$dir"
	grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed "s|^func |$dir $name |"
done <"$work/packages" >"$work/targets"

# Inputs that reach something new are made smaller for a second, not for a minute: with large seeds nothing else would
# be done. A hang of ten seconds is found by the fuzzer itself; this ends a target that does not come to its end.
limit=
if command -v timeout >/dev/null; then limit="timeout -k 10 $((seconds + 300))"; fi
# Go's own limit keeps garbage from piling up; the system's turns an allocation without bound into a finding. It counts
# addresses, of which a Go program reserves a gigabyte.
export limit GOMEMLIMIT=1GiB
ulimit -v 4194304 2>/dev/null || true # macOS has no such limit

xargs -P "$cores" -L 1 sh -c '
	dir=$0 name=$1 target=$2
	log=$work/$name-$target.log
	cache=$root/build/fuzz/$dir
	mkdir -p "$cache/$target"
	# The newest 500 inputs are enough to begin with: every one is run first, and the folder has an end.
	(cd "$cache/$target" && ls -t | tail -n +501 | xargs rm -f)
	cd "$root/$dir"
	if $limit "$work/$name.test" -test.run "^\$" -test.fuzz "^$target\$" -test.fuzztime "$time" -test.parallel 1 -test.fuzzminimizetime 1s -test.fuzzcachedir "$cache" >"$log" 2>&1; then
		found=
	elif ! grep -q "Failing input\|failure while testing seed" "$log" && grep -q "^    context deadline exceeded" "$log"; then
		found= # the time was over while an input ran: the fuzzer sometimes calls that a failure
	else
		found=yes
	fi
	runs=$(grep -o "execs: [0-9]*" "$log" | tail -n 1)
	if [ -z "$found" ]; then
		echo "fuzz: $dir $target: ${runs:-no input}, nothing found"
		exit
	fi
	echo "$dir $target" >>"$work/failed"
	{
		echo "fuzz: $dir $target: FAILED after ${runs:-no input}"
		sed "s|testdata/fuzz/|$dir/testdata/fuzz/|g; s/^/    /" "$log"
	} >"$log.out"
	cat "$log.out"
' <"$work/targets"
n=$(wc -l <"$work/targets")
if [ -s "$work/failed" ]; then
	echo "fuzz: $(wc -l <"$work/failed") of $n targets found something:"
	cat "$work/failed"
	exit 1
fi
echo "fuzz: $n targets, nothing found in $time each"
