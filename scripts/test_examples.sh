#!/usr/bin/env bash
# The notebook, the DAG of Airflow and the Dockerfile of examples/, each run with the wheel in dist/: the first two in
# environments of their own below build/examples, pinned, without torch; the image by buildah, or else it is said not to
# have been built.
#
#   scripts/test_examples.sh [notebook|airflow|image]...     default: all
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
tree=$PWD
folder=$tree/build/examples
mkdir -p "$folder"

# environment NAME: a venv with the packages that tests/install/NAME.lock pins, and no others.
environment() {
  local lock=tests/install/$1.lock
  if ! cmp -s "$lock" "$folder/$1/lock"; then
    rm -rf "${folder:?}/$1"
    python -m venv "$folder/$1"
    "$folder/$1/bin/pip" install -q --no-deps -r "$lock"
    cp "$lock" "$folder/$1/lock"
  fi
}

site_of() { "$1" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'; }

notebook() {
  environment notebook
  local kernel=$folder/notebook/bin/python site
  site=$(site_of "$folder/stoker/bin/python")
  # Behind the kernel's own packages: the wheel, and what .venv has.
  { echo "$site"; cat "$site/third.pth"; } >"$(site_of "$kernel")/stoker.pth"
  PYSPARK_PYTHON=$kernel PYSPARK_DRIVER_PYTHON=$kernel \
    "$kernel" scripts/run_notebook.py examples/moons.ipynb "$folder/moons.ipynb"
}

airflow() {
  environment airflow
  AIRFLOW_HOME=$folder/airflow-home STOKER_PYTHON=$folder/stoker/bin/python STOKER_JOBS=$folder/jobs \
    PYSPARK_PYTHON=$folder/stoker/bin/python PYSPARK_DRIVER_PYTHON=$folder/stoker/bin/python \
    "$folder/airflow/bin/python" tests/install/airflow_dag.py
}

image() {
  scripts/test_image.sh "$folder/image" "$folder/jobs" || {
    [ $? = 3 ] || return 1
    echo "examples: no builder of images can be had here: the Dockerfile is linted only"
  }
}

scripts/wheel_python.sh "$folder/stoker"
"$folder/stoker/bin/python" tests/install/jobs.py "$folder/jobs"
for name in ${@:-notebook airflow image}; do
  "$name"
  echo "examples: $name: done"
done
