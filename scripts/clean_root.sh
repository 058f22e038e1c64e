#!/usr/bin/env bash
# clean_root.sh FOLDER: a Debian system of Python, its venv and a JRE, and nothing else, in FOLDER; made once. Ends with 3
# where that cannot be done here (no root, no debootstrap).
set -euo pipefail
folder=$1
[ ! -e "$folder/made" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "clean_root.sh: it needs root"; exit 3; }
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null || exit 3
. /etc/os-release
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $VERSION_CODENAME" | head -1)
rm -rf "$folder"
mkdir -p "$folder"
debootstrap --variant=minbase --include=python3-venv,openjdk-17-jre-headless,procps "$VERSION_CODENAME" "$folder" "$mirror" \
  >"$folder.log" 2>&1 || { tail -3 "$folder.log" >&2; exit 3; }
echo "127.0.0.1 localhost" >"$folder/etc/hosts"
touch "$folder/made"
