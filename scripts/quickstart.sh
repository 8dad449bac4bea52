#!/usr/bin/env bash
# Sets up .venv, trains LB-UNet on drawn dermoscopy, evaluates it and draws every figure.
# No dataset and no network but the package registry; 5 to 15 minutes on two CPU cores.
# Usage: scripts/quickstart.sh [--flag=value ...]   (flags of python -m lbunet_tf.train)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
setup_environment requirements.lock

run=runs/quickstart
overwrite='' others=''
for flag in "$@"; do
  case "$flag" in
    -run=*|--run=*) run="${flag#*=}" ;;
    --overwrite|--overwrite=[tT1yY]*) overwrite=yes ;;
    -run|--run) echo "write --run=DIR, with an equals sign" >&2; exit 2 ;;
    *) others=yes ;;
  esac
done
# As python does; the shell leaves a tilde after "=" as it is.
case "$run" in "~/"*) run="$HOME/${run#"~/"}" ;; esac
if [ -f "$run/training.json" ] && [ -z "$overwrite" ]; then
  # Without a report, the same command was stopped while it evaluated.
  if [ -n "$others" ] && [ -f "$run/evaluation/report.html" ]; then
    echo "$run is trained already, with the flags in $run/flags.cfg. Give --overwrite to train" \
      "again, another --run=DIR, or no other flags to evaluate it" >&2
    exit 2
  fi
  echo "== $run is trained already; --overwrite trains again"
else
  echo "== training on drawn dermoscopy (flags/quickstart.cfg)"
  .venv/bin/python -m lbunet_tf.train --flagfile=flags/quickstart.cfg "$@"
fi
echo "== evaluating $run"
.venv/bin/python -m lbunet_tf.evaluate --run="$run"
cat <<EOF

Done. The images are drawn, not photographed: these numbers show that the package works and say
nothing about real lesions.
  report       $run/evaluation/report.html
  model card   $run/evaluation/model_card.md
  numbers      $run/evaluation/metrics.json
  figures      $run/evaluation/figures/
  predictions  $run/predictions.csv
  model        $run/model.keras
  TensorBoard  .venv/bin/tensorboard --logdir=runs
EOF
