#!/usr/bin/env bash
# Downloads a set of the ISIC Archive, images and metadata.csv, with the official client isic-cli.
# Usage: scripts/download_isic.sh SET DIR [options of isic image download, such as --limit 100]
#   SET  isic2016 to isic2020 (the training images of that challenge), ham10000, bcn20000, or the
#        number of a collection; isic collection list shows them all
#   DIR  a folder for this set alone; the same command again fetches what is missing
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"

if [ $# -lt 2 ]; then
  sed -n '2,/^set/s/^# //p' "$0" >&2
  exit 2
fi
set_name="$1" dir="$2"
shift 2

case "$set_name" in
  isic2016) collections=74 ;;
  isic2017) collections=60 ;;
  # Task 1-2 and Task 3.
  isic2018) collections=63,66 ;;
  isic2019) collections=65 ;;
  isic2020) collections=70 ;;
  ham10000) collections=212 ;;
  bcn20000) collections=249 ;;
  [1-9]*) collections="$set_name" ;;
  *)
    echo "SET must be isic2016 to isic2020, ham10000, bcn20000 or the number of a collection. Received: $set_name" >&2
    exit 2
    ;;
esac

# Without a network isic-cli tries again for 20 minutes and says nothing.
if command -v curl >/dev/null 2>&1; then
  curl --silent --show-error --max-time 20 --output /dev/null https://api.isic-archive.com/ || {
    echo "the ISIC Archive does not answer, see the line above. Is there a network, and HTTPS_PROXY set where it needs one?" >&2
    exit 1
  }
fi

if command -v isic >/dev/null 2>&1; then
  isic=(isic)
elif command -v uvx >/dev/null 2>&1; then
  isic=(uvx --from isic-cli isic)
else
  # A venv of its own, so that its requirements cannot move ours. No pin: isic-cli refuses to
  # run where a newer major version of it is out.
  venv="$root/.venv-isic"
  echo "== installing isic-cli into $venv"
  if [ ! -x "$venv/bin/pip" ]; then
    . "$root/scripts/setup.sh"
    python="$(find_python)"
    "$python" -m venv "$venv"
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check --upgrade isic-cli
  isic=("$venv/bin/isic")
fi

mkdir -p "$dir"
started="$(mktemp "$dir/.started.XXXXXX")"
trap 'rm -f "$started"' EXIT
status=0
"${isic[@]}" image download --collections "$collections" "$@" "$dir" || status=$?
# isic-cli may end with status 0 after an error, or where its question is answered with no.
if [ "$status" -eq 0 ] && { [ ! -f "$dir/metadata.csv" ] || [ "$dir/metadata.csv" -ot "$started" ]; }; then
  status=1
fi
if [ "$status" -ne 0 ]; then
  echo "isic did not finish; the same command again keeps the images that are in $dir" >&2
  exit "$status"
fi
# Nor does it say which images failed.
rows="$(($(wc -l <"$dir/metadata.csv") - 1))"
images="$(find "$dir" -name '*.jpg' | wc -l)"
if [ "$images" -lt "$rows" ]; then
  echo "$((images)) of $rows images have arrived; the same command again fetches the others" >&2
  exit 1
fi
cat <<EOF

== $dir has $((images)) images. Look at them:
  python -m lbunet_tf.prepare --source=isic_archive --data_dir=$dir --mask_source=label
Licences differ by image (CC-0, CC-BY, CC-BY-NC): $dir/licenses and the column copyright_license;
$dir/attribution.txt says whom to name. The archive gives no lesion masks and no challenge split:
https://challenge.isic-archive.com/data/ does, read with --source=isic2017 and the like.
EOF
