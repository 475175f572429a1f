#!/usr/bin/env bash
# Measure the shipped CPU table again, on an idle machine of the same kind: bash scripts/build_cpu_table.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
tinynas profile --name epyc-zen5 --short-name cpu --threads 1 --out "${1:-latency_tables/devices}"
