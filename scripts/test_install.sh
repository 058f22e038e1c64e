#!/usr/bin/env bash
# What a stranger does: a clean venv outside the tree gets the wheel in dist/ and trains MNIST, pastes the README's example,
# and runs the commands. Third parties come from the tree's .venv by a path, so nothing is downloaded. Then the doctor
# looks at real executors with planted faults, and a standalone cluster gets all packages as an archive. TWICE=1 builds the
# wheel once more, in another folder, and compares.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
root=$PWD
if [ -n "${TWICE:-}" ]; then
  again=$(mktemp -d)
  PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) python -m pip wheel . -q --no-build-isolation --no-deps -w "$again" \
    -Cbuild-dir="$again/build"
  cmp "$again"/stoker-*.whl dist/stoker-*.whl
  echo "install: two builds in two folders gave the same bytes"
  rm -rf "$again"
fi
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
wheel=$(ls -t dist/stoker-*.whl | head -1)
third=$(python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')

begun=$(date +%s.%N)
since() { python -c "import time; print(f'{time.time() - $begun:.1f} s')"; }
python -m venv --without-pip "$outside/venv"
site=$("$outside/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
echo "$third" >"$site/third.pth" # its own .pth files, the tree's among them, do not count there
python -m pip --python "$outside/venv/bin/python" install -q --no-deps --no-index --force-reinstall "$wheel"
export PYSPARK_PYTHON=$outside/venv/bin/python PYSPARK_DRIVER_PYTHON=$outside/venv/bin/python
unset PYTHONPATH
cd "$outside"
"$PYSPARK_PYTHON" -c "import stoker; assert stoker.__file__.startswith('$outside'), stoker.__file__"
echo "install: $(since) until installed"
"$PYSPARK_PYTHON" "$root/examples/mnist.py"
echo "install: $(since) until MNIST was trained twice"

sed -n '/^```python/,/^```$/p' "$root/README.md" | sed '1d;$d' >example.py
"$PYSPARK_PYTHON" example.py 2>/dev/null | tail -1
"$PYSPARK_PYTHON" -m stoker doctor --master 'local[2,4]' 2>/dev/null
echo "install: $(since) in all"
cd "$root"
export PYSPARK_PYTHON=$root/.venv/bin/python
.venv/bin/python -m pytest -q tests/install/*.py
