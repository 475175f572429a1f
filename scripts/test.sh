#!/usr/bin/env bash
# Sets itself up (a virtual environment in .venv), then lint, types, all tests and the documentation. What takes minutes by itself
# (the rehearsal of scripts/gpu_check.sh) is left to: pytest -m slow tests/test_gpu_check.py
# TINYNAS_TEST_DATA=DIR adds the tests on real data (bccd/ and tiny_coco/ in DIR); without it they are reported as skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh dev
ruff check .
ruff format --check .
mypy
# Fresh processes for each: inference runtimes, forked loader workers and training do not share one process in real use
# either. What they did to each other in one is docs/decisions/0003-one-openvino-core.md.
# One thread each: two test processes with two threads each wait for one another more than they work.
export OMP_NUM_THREADS=1
run() { python -m pytest --timeout 300 "$@"; }
# Whole files to a worker each: what the tests of a file share is made once.
share() { run -n "${TINYNAS_TEST_WORKERS:-2}" --dist loadfile "$@"; }
share tests/search_spaces tests/tinynas tests/test_[!n]*.py -m "not slow"
share tests/latency_tables tests/contracts
share tests/detector --ignore tests/detector/data --ignore tests/detector/training --ignore tests/detector/deploy --ignore tests/detector/quantisation
# Each of these keeps one core busy, so they go two at a time.
(run tests/detector/data tests/fuzz && run tests/detector/training) &
training=$!
run tests/detector/deploy
run tests/detector/quantisation
run tests/cuda
run tests/golden
run --nbmake tests/test_notebooks.py notebooks
python scripts/reference_pages.py docs/reference
python -m sphinx -W --keep-going -q -b html docs build/docs
wait "$training"
