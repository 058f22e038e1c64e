#!/usr/bin/env bash
# What tools can say about style. Fix most of it with: ruff check --fix, ruff format, clang-format -i.
set -uo pipefail
cd "$(dirname "$0")/.."
. .venv/env.sh

rc=0
ruff check . || rc=1
ruff format --check . || rc=1
git ls-files -z --cached --others --exclude-standard -- '*.cc' '*.h' |
  xargs -0 -r clang-format --dry-run --Werror || rc=1
hadolint examples/Dockerfile || rc=1
python scripts/check_arrows.py || rc=1
python scripts/check_licenses.py || rc=1
python scripts/check_params.py || rc=1
python scripts/stubs.py --check || rc=1
python -m mypy --no-error-summary || rc=1
exit $rc
