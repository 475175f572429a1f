#!/usr/bin/env bash
# Builds wheel and source distribution into dist/, checks them, and tries the wheel in a fresh environment: search, training,
# export and prediction outside this checkout. Uploads nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
source scripts/environment.sh release
rm -rf dist build
python -m build --outdir dist .
python -m twine check --strict dist/*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
cd "$work"
export PATH="$work/venv/bin:$PATH"
case $(python -c 'import tinynas; print(tinynas.__file__)') in
    "$root"/*) echo "error: the checkout was imported, not the wheel" >&2; exit 1 ;;
esac
tinynas sample-data data
tinynas search --budget 3.8ms --device t4 --out search
tinynas train Ns --data data --out run --epochs 4 --image-size 160
tinynas export run/best.pt --format onnx -o detector.onnx
tinynas predict detector.onnx data/images/val --out predictions --format csv --score-threshold 0.1
[ "$(wc -l < predictions/detections.csv)" -gt 1 ] || { echo "error: the detector found nothing" >&2; exit 1; }
echo "the wheel works; dist/ holds:"
ls "$root/dist"
