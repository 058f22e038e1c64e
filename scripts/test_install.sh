#!/usr/bin/env bash
# What a stranger does. A Debian root that has Python and a JRE and nothing else, without network, installs the wheel in
# dist/ and follows the pages word for word (tests/install/trial.py); where that cannot be made, a clean venv does.
# Then MNIST is trained with the installed wheel, the doctor looks at planted faults, and a standalone cluster gets all
# packages as an archive, and examples run. TWICE=1 builds the wheel once more, from another folder and without ccache,
# and compares.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
tree=$PWD
wheel=$(ls -t dist/stoker-*.whl | head -1)
house=build/wheelhouse

[ -z "${TWICE:-}" ] || scripts/wheel_twice.sh "$wheel"

# --- the trial by the pages -------------------------------------------------------------------------------------------
scripts/wheelhouse.sh $house
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
mkdir -p "$outside/trial/dist"
cp "$wheel" "$outside/trial/dist"
cp -r README.md docs tests/install/trial.py "$outside"
variables=(env -i HOME=/root LANG=C.UTF-8 PATH=/usr/bin:/bin:/usr/sbin:/sbin PIP_NO_INDEX=1 SPARK_LOCAL_IP=127.0.0.1)

# In namespaces of its own: mounts go with it, and there is no network but loopback.
trial_in_root() {
  unshare --mount --net --pid --fork --kill-child bash -euc '
    ip link set lo up
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" 2>/dev/null || cp -a "$1/." "$2/root"
    cd "$2/root"; mkdir -p trial wheelhouse
    mount --bind "$2" trial; mount --bind "$3" wheelhouse
    mount -t proc proc proc; mount --bind /dev dev; mount -t tmpfs tmpfs dev/shm
    shift 3; exec chroot . "$@"' "$outside" "$(realpath build/clean-root)" "$outside" "$(realpath $house)" \
    "${variables[@]}" PIP_FIND_LINKS=/wheelhouse bash -euc 'cd /trial/trial; python3 ../trial.py ..'
}
trial_in_venv() {
  (cd "$outside/trial" && "${variables[@]}" PATH="$(dirname "$(realpath "$tree/.venv/bin/python")"):$JAVA_HOME/bin:/usr/bin:/bin" \
    JAVA_HOME="$JAVA_HOME" PIP_FIND_LINKS="$tree/$house" python3 ../trial.py ..)
}
mkdir -p "$outside"/{upper,work,root}
if scripts/clean_root.sh build/clean-root; then
  echo "install: a Debian root of Python and a JRE, without network"
  trial_in_root
else
  echo "install: no clean root can be made here: a clean venv, with all that this system has"
  trial_in_venv
fi

# --- what else is done with the wheel ---------------------------------------------------------------------------------
scripts/wheel_python.sh "$outside/venv"
export PYSPARK_PYTHON=$outside/venv/bin/python PYSPARK_DRIVER_PYTHON=$outside/venv/bin/python
unset PYTHONPATH
cd "$outside"
"$PYSPARK_PYTHON" "$tree/examples/mnist.py"
cd "$tree"
export PYSPARK_PYTHON=$tree/.venv/bin/python PYSPARK_DRIVER_PYTHON=$tree/.venv/bin/python
.venv/bin/python -m pytest -q -s tests/install/doctor_cluster.py tests/install/shipping.py
scripts/test_examples.sh
