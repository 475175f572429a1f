#!/usr/bin/env bash
# Measure a shipped CPU table again, on an idle machine of the same kind, and check it against random detectors:
# bash scripts/build_cpu_table.sh [FOLDER [THREADS [RUNTIME [MINUTES]]]]; after an interruption set RESUME=--resume.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-latency_tables/devices} threads=${2:-1} runtime=${3:-openvino} minutes=${4:-10}
table=epyc-zen5-$runtime-fp32-b1-t$threads
names=()
if [[ $runtime == openvino && $threads == 1 ]]; then names=(--short-name cpu); fi
tinynas profile --name epyc-zen5 --runtime "$runtime" --threads "$threads" --spaces mob,res,csp --image-sizes 192..640 \
    --num-classes 1,20,80 --minutes "$minutes" --target-error 0.006 "${names[@]}" --out "$folder" ${RESUME:-}
tinynas tables verify "$folder/$table.csv" --spaces mob,res --image-sizes 256..640 --number 60 --fit-overhead --store \
    --plot "$table.png"
