#!/usr/bin/env bash
# test_image.sh FOLDER JOBS: builds examples/Dockerfile by buildah, without a daemon, on a base of Debian packages that is
# made here (scripts/clean_root.sh), from the wheel in dist/ and the third parties in build/wheelhouse; the image looks at
# itself with the doctor and does the job JOBS/fit.yaml. Ends with 3 where there is no builder.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "$1")
jobs=$(realpath "$2")
command -v buildah >/dev/null || apt-get install -y -qq --no-install-recommends buildah >/dev/null || exit 3
scripts/clean_root.sh build/clean-root || exit 3
scripts/wheelhouse.sh build/wheelhouse
house=$(realpath build/wheelhouse)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
buildah() { command buildah --root "$folder/images" --runroot "$folder/images-run" "$@"; }

rm -rf "$folder"
mkdir -p "$folder"
trap 'rm -rf "$folder"' EXIT
base=$(buildah from scratch)
buildah add -q "$base" build/clean-root / >/dev/null
buildah commit -q --rm "$base" localhost/base >/dev/null
buildah bud -q --network host --build-arg BASE=localhost/base --build-arg PIP_NO_INDEX=1 \
  --build-arg PIP_EXTRA_INDEX_URL= --build-arg PIP_FIND_LINKS=/wheelhouse --volume "$house:/wheelhouse:ro" -f examples/Dockerfile -t localhost/stoker dist
box=$(buildah from localhost/stoker)
cp -r "$jobs" "$folder/jobs"
chmod -R a+rwX "$folder/jobs"
inside() { buildah run --network host --volume "$folder/jobs:/jobs" --workingdir /jobs "$box" -- "$@"; }
image_says() { inside env SPARK_LOCAL_IP=127.0.0.1 python -m stoker "$@"; } # there is no name of the container's host
inside sh -c 'test "$(id -u)" = 185'
image_says doctor --master 'local[2,4]'
image_says fit --config fit.yaml
test -d "$folder/jobs/model"
