#!/usr/bin/env bash
# sentencepiece.sh FOLDER C++-COMPILER: builds Debian 12's SentencePiece from its source, as a static library
# FOLDER/src/libsentencepiece.a with FOLDER/src/*.h: Debian's own shared one needs a newer C library than wheels may.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "$1")
version=0.1.97
file=sentencepiece_$version.orig.tar.gz
sha256=56430381f45dc6debfd2e0cbde4f039f9499c49ca825af184b0cbf318c17a18f
source=.cache/$file
[ ! -f "$folder/src/libsentencepiece.a" ] || exit 0
is_right() { [ -f "$source" ] && echo "$sha256  $source" | sha256sum --check --status; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! is_right; then # by apt with a list of its own: sources are seldom in the machine's
  lists=$scratch/lists
  mkdir -p .cache "$lists/parts" "$lists/state/partial"
  sed -n 's/^deb /deb-src /p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list >"$lists/parts/all.list" 2>/dev/null || true
  for list in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$list" ] || sed 's/^Types: deb$/Types: deb-src/' "$list" >"$lists/parts/${list##*/}"
  done
  apt=(-q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$lists/parts" -o "Dir::State::lists=$lists/state" -o APT::Sandbox::User=root)
  apt-get "${apt[@]}" update >/dev/null
  uri=$(apt-get "${apt[@]}" source --print-uris sentencepiece | grep -o "'[^']*$file'" | tr -d "'")
  python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' "$uri" "$source"
  is_right || { echo "sentencepiece.sh: $source is not what was expected" >&2; exit 1; }
fi

# Not in FOLDER: its own build takes none with a space in its name.
built=$scratch/source
mkdir -p "$built" "$folder/src"
tar xzf "$source" -C "$built" --strip-components=1
cmake -S "$built" -B "$built/build" -G Ninja --log-level=ERROR -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$2" \
  -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DSPM_ENABLE_SHARED=OFF -DSPM_ENABLE_TCMALLOC=OFF \
  -DCMAKE_CXX_FLAGS="-w -fvisibility=hidden -ffile-prefix-map=$built=sentencepiece" -DCMAKE_POLICY_VERSION_MINIMUM=3.5 >/dev/null
cmake --build "$built/build" --target sentencepiece-static >/dev/null
cp "$built"/src/*.h "$folder/src/"
cp "$built/build/src/libsentencepiece.a" "$folder/src/"
