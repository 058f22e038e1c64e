#!/usr/bin/env bash
# Every check of the project, in the order of what fails fastest, fuzzing beside them. All of them run; the exit code
# says whether all held.
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

fuzzed() {
  wait "$fuzzing" || { cat build/fuzz.log; return 1; }
}

# A minute for each reader, on what the others leave of the processors; its numbers stay in build/fuzz.log.
mkdir -p build
nice -n 19 tests/fuzz/run.sh 60 >build/fuzz.log 2>&1 &
fuzzing=$!
trap 'pkill -P $fuzzing; kill $fuzzing 2>/dev/null' EXIT

check "style, types, arrows, parameters, stubs, licences" scripts/lint.sh
check "symbols" .venv/bin/python scripts/check_symbols.py
check "C++ tests" ctest -j 2 --test-dir build/release --output-on-failure --timeout 600
check "C++ tests under sanitizers" scripts/sanitize.sh
# Two at once, a file each: much of their time is spent waiting.
check "Python tests" .venv/bin/python -m pytest -n 2 --dist loadfile tests
fuzzed || failed+=("fuzzing of what comes from outside")

if [ ${#failed[@]} -gt 0 ]; then
  echo "test: failed: $(IFS=,; echo "${failed[*]}")" >&2
  exit 1
fi
