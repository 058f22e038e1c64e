#!/usr/bin/env bash
# Runs the C++ tests of the folders that never see libtorch under the address and undefined-behaviour sanitizers and
# under the thread sanitizer. Arguments: the presets to run (default: asan tsan).
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh

folders=(base net shm gang collective checkpoint images)
pattern=$(IFS='|'; echo "${folders[*]}")
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# The thread sanitizer of g++ 12 dies where the kernel randomises addresses widely.
still=()
if setarch -R true 2>/dev/null; then still=(setarch -R); fi

[ $# -gt 0 ] || set -- asan tsan
for preset in "$@"; do
  cmake --preset "$preset" --log-level=WARNING >/dev/null
  cmake --build --preset "$preset" --target "${folders[@]/#/test_}"
  "${still[@]}" ctest -j 2 --test-dir "build/$preset" --output-on-failure --timeout 900 -R "^($pattern)\$"
done
