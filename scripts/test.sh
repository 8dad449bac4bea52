#!/usr/bin/env bash
# Sets up .venv and runs the tests: synthetic data only, no network but the package registry.
# Usage: scripts/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
setup_environment requirements-test.lock
# Optional: its test is skipped where it does not install.
if ! .venv/bin/python -c 'import isic_challenge_scoring' 2>/dev/null; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check 'isic-challenge-scoring==5.6.0' 2>/dev/null \
    || uv pip install --quiet --python .venv/bin/python 'isic-challenge-scoring==5.6.0' 2>/dev/null \
    || echo "== isic-challenge-scoring did not install; the comparison with it is skipped"
fi
echo "== running the tests"
# Two processes; a file stays in one, where its tests share what they trained. A process that dies
# ends the run with the name of its test: xdist would wait for ever for the tests of its file.
.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 "$@"
if [ $# -eq 0 ]; then
  echo "== running the tests of losses, metrics and what models are made of under JAX"
  KERAS_BACKEND=jax .venv/bin/python -m pytest -n 2 --dist loadfile -m "not slow" \
    tests/training/test_losses.py tests/training/test_loss_formulas.py tests/training/test_metrics.py \
    tests/training/test_trainer.py tests/training/test_class_loss.py tests/models/test_bottleneck.py
fi
