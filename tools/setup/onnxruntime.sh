#!/bin/sh
# Puts the ONNX Runtime library into the folder named by the first argument, from the package registries that npm or
# pip are set up for, at the version and digest of onnxruntime.txt (or of the file named by the second argument).
# Does nothing when the right library is there already, or VISTA_MR_ORT_LIB names one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=$1
table=${2:-$here/onnxruntime.txt}
platform="$(uname -s | tr 'A-Z' 'a-z')-$(uname -m)"
name=libonnxruntime.so
case $platform in darwin-*) name=libonnxruntime.dylib ;; esac

if [ -n "${VISTA_MR_ORT_LIB:-}" ]; then
	[ -f "$VISTA_MR_ORT_LIB" ] || { echo "setup: VISTA_MR_ORT_LIB names $VISTA_MR_ORT_LIB, which is not there" >&2; exit 1; }
	exit 0
fi

digest() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

# The digest that was checked is kept beside the library, so that a later build need not read 40 MB.
want=$(awk -v p="$platform" '$1 == p { print $6 }' "$table")
[ -n "$want" ] || { echo "setup: no ONNX Runtime is known for $platform; install one and set VISTA_MR_ORT_LIB" >&2; exit 1; }
have=$(cat "$to/$name.sha256" 2>/dev/null || true)
if [ -n "$have" ] && [ -s "$to/$name" ] && echo "$want" | grep -qx "$have"; then exit 0; fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
tried=
awk -v p="$platform" '$1 == p { print $2, $3, $4, $5, $6 }' "$table" >"$tmp/sources"
while read -r client version wheel path sum; do
	command -v "$client" >/dev/null 2>&1 || { tried="$tried $client(not installed)"; continue; }
	echo "setup: ONNX Runtime $version through $client" >&2
	got=$tmp/$client
	mkdir -p "$got"
	case $client in
	npm)
		(cd "$got" && npm pack --silent "onnxruntime-node@$version" >/dev/null) || { tried="$tried npm(failed)"; continue; }
		tar -xzf "$got"/onnxruntime-node-*.tgz -C "$got" "$path" || { tried="$tried npm(no $path)"; continue; }
		;;
	pip)
		# The wheel is named in full: the Python that is here does not matter, and the digest fits one wheel only.
		pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.12 --abi cp312 \
			--platform "$wheel" --dest "$got" "onnxruntime==$version" >&2 || { tried="$tried pip(failed)"; continue; }
		python3 -m zipfile -e "$got"/onnxruntime-*.whl "$got" || { tried="$tried pip(unreadable)"; continue; }
		;;
	esac
	[ -f "$got/$path" ] || { tried="$tried $client(no $path)"; continue; }
	is=$(digest "$got/$path")
	if [ "$is" != "$sum" ]; then
		echo "setup: $client gave a library with SHA-256 $is, want $sum" >&2
		tried="$tried $client(wrong digest)"
		continue
	fi
	mkdir -p "$to"
	rm -f "$to/$name.sha256" # from here on, until the new digest is written, the library counts as missing
	cp "$got/$path" "$to/.$name.new"
	mv "$to/.$name.new" "$to/$name"
	echo "$sum" >"$to/$name.sha256"
	exit 0
done <"$tmp/sources"
echo "setup: no ONNX Runtime for $platform:$tried. Install npm or pip, or set VISTA_MR_ORT_LIB to a library" >&2
exit 1
