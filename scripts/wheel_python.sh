#!/usr/bin/env bash
# wheel_python.sh FOLDER: a venv in FOLDER that has the newest wheel of dist/, and of .venv its third parties by a path.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
[ -x "$1/bin/python" ] || python -m venv --without-pip "$1"
site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
# The .pth files there, this tree's among them, do not count behind a .pth.
python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' >"$site/third.pth"
python -m pip --python "$1/bin/python" install -q --no-deps --no-index --force-reinstall "$(ls -t dist/stoker-*.whl | head -1)"
"$1/bin/python" -c "import stoker; assert stoker.__file__.startswith('$(realpath "$1")'), stoker.__file__"
