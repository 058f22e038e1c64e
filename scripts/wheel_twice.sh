#!/usr/bin/env bash
# wheel_twice.sh WHEEL: builds this tree's wheel once more, from a copy of it in another folder and without ccache, and
# says how it differs from WHEEL, if it does.
set -euo pipefail
cd "$(dirname "$0")/.."
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
mkdir "$again/another folder"
git ls-files -z | xargs -0 cp --parents -t "$again/another folder"
cp -r --parents .cache/sentencepiece* "$again/another folder" 2>/dev/null || true # what is downloaded once
CCACHE_DISABLE=1 scripts/wheel.sh "$again" "$again/another folder"
cmp "$again"/stoker-*.whl "$1" || { scripts/compare_wheels.py "$again"/stoker-*.whl "$1"; exit 1; }
echo "install: two builds in two folders gave the same bytes"
