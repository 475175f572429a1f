#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one run of at most 9 minutes: tests, speed, a latency table, learning (docs/gpu.md).
# usage: bash scripts/gpu_check.sh [OUT] [--minutes 30] [--data DIR] [--steps tests,speed] [--device cpu --quick]
# Needs a driver and PyTorch 2.6 or newer. Without network: bring the folder scripts/wheels that scripts/gpu_wheels.sh makes.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
export PYTHONPATH="$site:$root" PYTHONUNBUFFERED=1
"$python" "$root/scripts/gpu_packages.py" install "$root/scripts/wheels" "$site"
"$python" "$root/benchmarks/gpu/check.py" "$@"
