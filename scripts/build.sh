#!/usr/bin/env bash
# Builds a preset (default release). The release build also installs its modules in place, into python/stoker.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
preset=${1:-release}

cmake --preset "$preset" --log-level=WARNING >/dev/null
cmake --build --preset "$preset"
if [ "$preset" = release ]; then cmake --install build/release --prefix python | grep -v Up-to-date || true; fi
