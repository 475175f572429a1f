#!/usr/bin/env bash
# Builds the documentation into build/docs; a warning (a link that leads nowhere, a page in no list) is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh docs
python scripts/reference_pages.py docs/reference
python -m sphinx -W --keep-going -q -b html docs build/docs
echo "open build/docs/index.html"
