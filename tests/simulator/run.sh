#!/usr/bin/env bash
# The whole of the simulator: no violation in 1,000 seeds of 10,000 events with 2 to 32 workers and in 5,000,000 events
# with 1,000 workers; and every planted fault in faults/ is found, each in a copy of the sources that is patched with it.
# Arguments: names of the faults to plant (default: all of them, after the runs without one).
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=build/simulator
rm -rf $copy/engine $copy/tests && mkdir -p $copy/build $copy/tests
cp -R engine $copy/ && cp -R tests/simulator $copy/tests/

build() {
  [ -f $copy/build/build.ninja ] || cmake -S $copy/tests/simulator -B $copy/build -G Ninja --log-level=WARNING >/dev/null
  ninja -C $copy/build simulator >/dev/null
}

found() {
  local output status=0
  patch --quiet -p1 -d $copy <"tests/simulator/faults/$1.patch"
  build
  output=$($copy/build/simulator 4000 10000 2 32) || status=$?
  patch --quiet -R -p1 -d $copy <"tests/simulator/faults/$1.patch"
  if [ $status -ne 1 ]; then
    echo "planted, but not found: $1 (status $status)"
    return 1
  fi
  echo "found: $1 ($output)"
}

if [ $# -eq 0 ]; then
  build
  $copy/build/simulator 1000 10000 2 32
  $copy/build/simulator 1 5000000 1000 1000
  mapfile -t faults < <(cd tests/simulator/faults && ls -1 -- *.patch | sed 's/\.patch$//')
  set -- "${faults[@]}"
fi
missed=0
for fault in "$@"; do found "$fault" || missed=$((missed + 1)); done
[ $missed -eq 0 ]
