#!/usr/bin/env bash
# Serves RUN/export with TF Serving in docker: the newest version, and each newer one that comes.
# Usage: scripts/serve_docker.sh RUN [REST_PORT [GRPC_PORT]]   (8501 and 8500)
# TF_SERVING_IMAGE names another image, SERVE_ADDRESS another address than 127.0.0.1: TF Serving
# asks no one for a password.
set -euo pipefail

# The release of the TensorFlow that writes the export. For x86-64.
image="${TF_SERVING_IMAGE:-tensorflow/serving:2.21.0}"
address="${SERVE_ADDRESS:-127.0.0.1}"

fail() {
  echo "$1" >&2
  exit "${2:-1}"
}

has_version() {
  local file version
  for file in "$1"/*/saved_model.pb; do
    version="$(basename "$(dirname "$file")")"
    case "$version" in
      *[!0-9]*) ;;
      *) return 0 ;;
    esac
  done
  return 1
}

[ $# -ge 1 ] && [ $# -le 3 ] || fail "usage: scripts/serve_docker.sh RUN [REST_PORT [GRPC_PORT]]" 2
run="$1" rest_port="${2:-8501}" grpc_port="${3:-8500}"
has_version "$run/export" \
  || fail "$run/export holds no version. Write one: python -m lbunet_tf.export --run=$run"
command -v docker >/dev/null || fail "docker is not installed: https://docs.docker.com/get-docker/"
docker_says="$(docker info 2>&1 >/dev/null)" || fail "docker is installed but does not answer: $docker_says"

export_folder="$(CDPATH='' cd -- "$run/export" && pwd -P)"
scripts_folder="$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)"
# With a terminal, Ctrl-C reaches the server.
terminal=false
if [ -t 0 ] && [ -t 1 ]; then terminal=true; fi

exec docker run --rm --interactive="$terminal" --tty="$terminal" \
  -p "$address:$rest_port:8501" -p "$address:$grpc_port:8500" \
  --mount "type=bind,source=$export_folder,target=/models/lbunet,readonly" \
  --mount "type=bind,source=$scripts_folder/batching.config,target=/models/batching.config,readonly" \
  -e MODEL_NAME=lbunet "$image" \
  --enable_batching=true --batching_parameters_file=/models/batching.config
