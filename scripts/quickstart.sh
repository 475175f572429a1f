#!/usr/bin/env bash
# The whole main job on a fresh machine, some minutes on two cores (downloads aside):
# sample data -> search within a budget on this CPU -> train -> export to OpenVINO -> predict. Ends with pictures in ./quickstart.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
out=${1:-quickstart}
if [ -e "$out" ]; then
    echo "error: $out exists already; remove it or name another folder: bash scripts/quickstart.sh FOLDER" >&2
    exit 2
fi
tinynas sample-data "$out/data"
# cpu is this CPU: its latency table is adapted first (a minute and a half, once), and corrected by whole networks that are
# measured (--measure). The first budget that it can meet:
for budget in 6ms 9ms 15ms 30ms 60ms; do
    if tinynas search --budget "$budget" --device cpu --image-size 320 --num-classes 3 --measure 8 --out "$out"; then
        break
    fi
done
tinynas train "$out/structure.txt" --data "$out/data" --out "$out/run" --epochs "${TINYNAS_EPOCHS:-30}"
tinynas eval "$out/run/best.pt" --data "$out/data"
tinynas export "$out/run/best.pt" --format openvino -o "$out/detector.xml"
tinynas predict "$out/detector.xml" "$out/data/images/val" --out "$out/predictions" --score-threshold 0.45
echo
echo "Look at: $out/report.html and the pictures in $out/predictions"
