#!/usr/bin/env bash
# Writes requirements.lock and requirements-test.lock: the release of every package, with the
# hashes of its files, for Python 3.11 to 3.13 on any system. Pins that still fit are kept.
# Usage: scripts/lock.sh [--upgrade]   (to the newest releases)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
"$(find_python)" -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

# uv overlooks that its release 1.3.1 is not for Python 3.11; ai-edge-litert needs it.
echo 'backports-strenum<1.3' > "$tools/constraints.txt"

compile() {
  "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --constraints "$tools/constraints.txt" --no-config --no-emit-index-url --no-emit-find-links --annotation-style line \
    --custom-compile-command scripts/lock.sh "$@"
}

compile "$@" requirements-test.txt --output-file requirements-test.lock
# Of the same releases, so that what was tested is what is installed.
compile "$@" requirements.txt --constraints requirements-test.lock --output-file requirements.lock
# Where the constraint lay says nothing to anyone else.
sed -i "s|, -c $tools/constraints.txt||" requirements.lock requirements-test.lock
