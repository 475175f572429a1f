#!/usr/bin/env bash
# Sets itself up (a virtual environment in .venv), then lint, types and all tests.
# TINYNAS_TEST_DATA=DIR adds the tests on real data (bccd/ and tiny_coco/ in DIR); without it they are reported as skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh dev
ruff check .
ruff format --check .
mypy
python -m pytest -n "${TINYNAS_TEST_WORKERS:-2}" --timeout 300 "$@"
