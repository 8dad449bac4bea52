#!/usr/bin/env bash
# Makes or reuses .venv and installs a lock file (every file by its hash) or a requirements file;
# sourced by the other scripts.
# Usage: . scripts/setup.sh; setup_environment requirements.lock

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

# Older releases write outside their folder while they unpack a package: pip up to 25.3
# (CVE-2025-8869, CVE-2026-1703), setuptools up to 78.1.0 (CVE-2025-47273).
INSTALLERS=('pip>=26' 'setuptools>=78.1.1')
# The package itself, as it stands in this folder, built by the setuptools just installed.
PACKAGE=(--no-deps --no-build-isolation --editable .)

setup_environment() {
  local requirements="$1" release stamp
  release=".installed-$(cat requirements* pyproject.toml scripts/setup.sh | cksum | cut -d' ' -f1)"
  stamp=".venv/$release-$(basename "$requirements")"
  if [ -x .venv/bin/python ] && ! is_supported .venv/bin/python; then
    echo ".venv has $(.venv/bin/python --version), and lbunet_tf needs Python 3.11 to 3.13. Delete .venv, then again." >&2
    return 1
  fi
  if [ -f "$stamp" ]; then
    echo "== reusing .venv ($(.venv/bin/python --version))"
    return 0
  fi
  make_environment || return 1
  # An environment of another release is no longer that of its lock.
  find .venv/ -maxdepth 1 -name '.installed-*' ! -name "$release-*" -delete
  echo "== installing $requirements (TensorFlow is large; minutes on the first run)"
  install_requirements "$requirements" || {
    case "$requirements" in
      *.lock) echo "$requirements did not install on $(uname -sm) with $(.venv/bin/python --version); it is tested on 64-bit Linux (x86) only. Elsewhere take the ranges instead: .venv/bin/python -m pip install -r ${requirements%.lock}.txt" >&2 ;;
    esac
    return 1
  }
  touch "$stamp"
}

make_environment() {
  local python
  [ ! -x .venv/bin/python ] || return 0
  if [ -e .venv ] || [ -L .venv ]; then
    echo ".venv is there and holds no Python environment. Move it away, then again." >&2
    return 1
  fi
  python="$(find_python)" || return 1
  echo "== making .venv with $("$python" --version)"
  if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python "$(command -v "$python")" .venv
  else
    "$python" -m venv .venv || {
      echo "python3 -m venv failed. On Debian or Ubuntu: apt-get install python3-venv, then again." >&2
      rm -rf .venv
      return 1
    }
  fi
}

install_requirements() {
  local hashes=()
  case "$1" in *.lock) hashes=(--require-hashes) ;; esac
  if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python .venv/bin/python "${INSTALLERS[@]}" &&
      uv pip install --quiet --python .venv/bin/python ${hashes[@]+"${hashes[@]}"} -r "$1" &&
      PYTHONWARNINGS=ignore uv pip install --quiet --python .venv/bin/python "${PACKAGE[@]}"
  else
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null || return 1
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "${INSTALLERS[@]}" &&
      .venv/bin/python -m pip install --quiet --disable-pip-version-check ${hashes[@]+"${hashes[@]}"} -r "$1" &&
      PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --disable-pip-version-check "${PACKAGE[@]}"
  fi
}
