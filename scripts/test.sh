#!/usr/bin/env bash
# Every check of the project, in the order of what fails fastest. All of them run; the exit code says whether all held.
set -uo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh

failed=()
check() {
  local title=$1
  shift
  echo "== $title"
  "$@" || failed+=("$title")
}

check "include arrows" .venv/bin/python scripts/check_arrows.py
check "C++ tests" ctest --test-dir build/release --output-on-failure --timeout 600
check "C++ tests under sanitizers" scripts/sanitize.sh
check "fuzzing of what comes from outside" tests/fuzz/run.sh 60
check "Python tests" .venv/bin/python -m pytest tests

if [ ${#failed[@]} -gt 0 ]; then
  echo "test: failed: $(IFS=,; echo "${failed[*]}")" >&2
  exit 1
fi
