#!/usr/bin/env bash
# wheel.sh FOLDER [TREE]: the wheel of a tree (default: this one) in FOLDER. Files in it carry the commit's time and the
# usual modes, and sets one order, so that two builds give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
into=$(realpath -m "$1")
tree=$(realpath "${2:-.}")
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
rm -f "$into"/stoker-*-linux_x86_64.whl
cd "$tree"
export CCACHE_BASEDIR=$tree
PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=$epoch python -m pip wheel . -q --no-build-isolation --no-deps -w "$into"
SOURCE_DATE_EPOCH=$epoch python -m wheel tags --remove --platform-tag manylinux_2_28_x86_64 "$into"/stoker-*-linux_x86_64.whl
python scripts/wheel_modes.py "$into"/stoker-*-manylinux_2_28_x86_64.whl
