#!/bin/sh
# The main job on a small data set: which layer of ResNet50 makes the better model, and by how much?
# The first argument is the folder of the program. Data and results go to out/.
set -eu
bin=$1
records=${RECORDS:-1000}
data=out/data-foods-$records
result=out/foods-$records

"$bin/vista-mr" synth foods --records "$records" "$data" >&2
if [ -f "$result/_SUCCESS" ]; then rm -rf "$result"; fi

cat >out/foods.yaml <<YAML
apiVersion: vista-mr/v1
name: foods
seed: 2019
table:
  uri: $data/table.csv
  key: id
  label: label
images:
  uri: $data/images
cnn:
  model: resnet50
  weights: random        # a .safetensors file with torchvision's names for a trained network
  layers: 5
downstream:
  iterations: 10
  reg: 0.01
  elasticNet: 0.5
output: $result
YAML

"$bin/vista-mr" submit out/foods.yaml
