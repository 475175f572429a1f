# Sourced by the other scripts: makes .venv if need be, installs tinynas into it from this checkout, activates it.
# usage: source scripts/environment.sh [EXTRA]   (dev: with the tools that the tests need)
if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv
fi
# shellcheck disable=SC1091
source .venv/bin/activate
python -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "tinynas needs Python 3.11 or newer")'
# torch first: asked for by its pinned version, so that no other package draws in another build
python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".${1:+[$1]}"
