#!/usr/bin/env bash
# Builds a preset (default release), or of it one target: "modules" is what Python needs, without the tests. The release
# build also installs its modules in place, into python/stoker.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
preset=${1:-release}

cmake --preset "$preset" --log-level=WARNING >/dev/null
cmake --build --preset "$preset" ${2:+--target "$2"}
if [ "$preset" = release ]; then
  cmake --install build/release --prefix python | grep -v Up-to-date || true
  python scripts/stubs.py --engine
fi
echo "build: took $SECONDS s"
