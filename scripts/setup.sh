#!/usr/bin/env bash
# Makes or reuses .venv and installs a requirements file; sourced by the other scripts.
# Usage: . scripts/setup.sh; setup_environment requirements.txt

is_supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
  local name
  for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$name" ] || continue
    if is_supported "$name"; then
      echo "$name"
      return 0
    fi
  done
  echo "lbunet_tf needs Python 3.11, 3.12 or 3.13 (Keras 3.15 needs 3.11). Found: $(python3 --version 2>&1). Install one, or name it: PYTHON=/path/to/python3.12 $0" >&2
  return 1
}

setup_environment() {
  local requirements="$1" python stamp
  stamp=".venv/.installed-$(cat requirements*.txt | cksum | cut -d' ' -f1)-$(basename "$requirements" .txt)"
  if [ -x .venv/bin/python ] && ! is_supported .venv/bin/python; then
    echo ".venv has $(.venv/bin/python --version), and lbunet_tf needs Python 3.11 to 3.13. Delete .venv, then again." >&2
    return 1
  fi
  if [ -f "$stamp" ]; then
    echo "== reusing .venv ($(.venv/bin/python --version))"
    return 0
  fi
  if [ ! -x .venv/bin/python ]; then
    python="$(find_python)" || return 1
    echo "== making .venv with $("$python" --version)"
    if command -v uv >/dev/null 2>&1; then
      uv venv --quiet --python "$(command -v "$python")" .venv || return 1
    else
      "$python" -m venv .venv || {
        echo "python3 -m venv failed. On Debian or Ubuntu: apt-get install python3-venv, then again." >&2
        rm -rf .venv
        return 1
      }
    fi
  fi
  echo "== installing $requirements (TensorFlow is large; minutes on the first run)"
  if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python .venv/bin/python -r "$requirements" || return 1
  else
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null || return 1
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements" || return 1
  fi
  touch "$stamp"
}
