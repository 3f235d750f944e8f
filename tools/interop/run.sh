#!/bin/sh
# Opens what small jobs leave with other people's programs (check.py says what is compared) and runs the code of
# docs/outputs.md. The first argument is the folder of the program. Python's packages go to build/interop/venv, at the versions
# of requirements.txt; Apache Avro's jars, through Maven, to build/interop/jars. What is not there is skipped with a word, unless
# VISTA_REQUIRE names it (python, java).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$1
tools=build/interop
out=out/interop

missing() { # missing NAME WHAT
	case ",${VISTA_REQUIRE:-}," in
	*,"$1",*) echo "interop: $2" >&2; exit 1 ;;
	esac
	echo "interop: skipped: $2" >&2
}

if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	missing python "it needs Python 3.11 or newer with venv (Debian: python3-venv)"
	exit 0
fi
mkdir -p "$tools"
if ! cmp -s "$here/requirements.txt" "$tools/venv/installed.txt"; then
	rm -rf "$tools/venv"
	python3 -m venv "$tools/venv"
	if ! "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"; then
		missing python "the packages of tools/interop/requirements.txt cannot be installed"
		exit 0
	fi
	cp "$here/requirements.txt" "$tools/venv/installed.txt"
fi

jars=
if ! command -v javac >/dev/null 2>&1 || ! command -v mvn >/dev/null 2>&1; then
	missing java "Apache Avro's Java library needs a JDK and Maven (Debian: default-jdk-headless maven)"
else
	if ! cmp -s "$here/pom.xml" "$tools/jars/pom.xml"; then
		rm -rf "$tools/jars"
		if mvn --quiet --batch-mode -f "$here/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$PWD/$tools/jars"; then
			cp "$here/pom.xml" "$tools/jars/pom.xml"
		else
			missing java "Maven cannot fetch the libraries of tools/interop/pom.xml"
		fi
	fi
	if [ -f "$tools/jars/pom.xml" ]; then jars="--jars $tools/jars"; fi
fi

go build -o "$tools/pixels" ./tools/interop/pixels
mkdir -p "$out"
"$bin/vista-mr" synth foods --records 120 "$out/data" >&2
rm -rf "$out/avro" "$out/parquet"

# Trained to the end, so that scikit-learn can be asked for the same least.
job() { # job NAME NETWORK LAYERS DOWNSTREAM FORMAT
	cat >"$out/$1.yaml" <<YAML
apiVersion: vista-mr/v1
name: interop-$1
seed: 2019
table: {uri: $out/data/table.csv, key: id, label: label}
images: {uri: $out/data/images}
cnn: {model: $2, weights: random, layers: $3}
downstream: {$4, reg: 0.01, iterations: 500, tol: 1e-10, test: 0.3}
keep: {features: true}
features: {format: $5}
output: $out/$1
YAML
	"$bin/vista-mr" submit "$out/$1.yaml" >/dev/null
}
job avro resnet50 '[conv5_3, fc6]' 'elasticNet: 0' avro
job parquet alexnet '[conv5, fc7]' 'kind: linear-svc, elasticNet: 0' parquet

# shellcheck disable=SC2086 # an option with its value, or nothing
"$tools/venv/bin/python" "$here/check.py" --program "$bin/vista-mr" --pixels "$tools/pixels" --table "$out/data/table.csv" --images "$out/data/images" $jars "$out/avro" "$out/parquet"
