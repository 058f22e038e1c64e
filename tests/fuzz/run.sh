#!/usr/bin/env bash
# Fuzzes the readers for so many seconds each (default 10), beginning with the corpus. What is new stays in
# build/fuzz/found, and what breaks something in build/fuzz; run.sh --keep puts the findings that reach new code into
# the corpus instead.
set -euo pipefail
cd "$(dirname "$0")/../.."
compiler=$(command -v clang++ || true)
if [ -z "$compiler" ]; then
  echo "fuzz: clang++ is missing; run scripts/setup.sh" >&2
  exit 1
fi
targets=(frame handshake protocol peers batches texts programs safetensors)
build=build/fuzz
cmake -S tests/fuzz -B $build -G Ninja -DCMAKE_CXX_COMPILER="$compiler" --log-level=WARNING >/dev/null
ninja -C $build >$build/ninja.log || { cat $build/ninja.log; exit 1; }

if [ "${1:-}" = --keep ]; then
  for target in "${targets[@]}"; do
    mkdir -p $build/kept/"$target"
    $build/fuzz_"$target" -merge=1 -max_len=300 $build/kept/"$target" tests/fuzz/corpus/"$target" $build/found/"$target" 2>/dev/null
    rm -f tests/fuzz/corpus/"$target"/* && cp $build/kept/"$target"/* tests/fuzz/corpus/"$target"/
  done
  exit
fi
seconds=${1:-10}
for target in "${targets[@]}"; do
  mkdir -p $build/found/"$target"
  $build/fuzz_"$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix=$build/broken-"$target"- \
    $build/found/"$target" tests/fuzz/corpus/"$target" 2>$build/"$target".log || { cat $build/"$target".log; exit 1; }
  echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' $build/"$target".log) inputs, nothing broke"
done
