#!/usr/bin/env bash
# wheelhouse.sh FOLDER: torch, Spark and the third parties of a wheel as wheels in FOLDER, so that pip installs from files;
# downloaded once.
set -euo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh
house=$1
if [ -e "$house/filled" ] && [ ! requirements.lock -nt "$house/filled" ]; then exit 0; fi
mkdir -p "$house"
names=(pandas numpy pyarrow safetensors tqdm python-dateutil pytz tzdata six py4j pyyaml filelock fsspec jinja2 markupsafe
  mpmath networkx sympy typing-extensions setuptools)
python -m pip wheel -q --no-deps -c requirements.lock -w "$house" "${TORCH_SPEC:-torch==2.13.0}" \
  "$(grep '^pyspark==' requirements.lock)" "${names[@]}"
touch "$house/filled"
