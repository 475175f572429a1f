#!/usr/bin/env bash
# Wheels for scripts/gpu_check.sh on a machine with PyTorch and without network: what such machines often lack, at most 40 MB.
# Run it where there is a network, then take the folder along: bash scripts/gpu_wheels.sh [--python 3.12] [--have PIP_LIST]
# PIP_LIST: what `pip list --format=freeze` printed on the other machine; what is in it is left out.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" scripts/gpu_packages.py download scripts/wheels "$@"
