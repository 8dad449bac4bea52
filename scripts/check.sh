#!/usr/bin/env bash
# The quick loop before a commit: format, lint, layering and fast tests; a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
setup_environment requirements-test.lock
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow"
