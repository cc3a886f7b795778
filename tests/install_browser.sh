#!/usr/bin/env bash
# Sees to it that the console's tests have Chromium and fonts with Han letters; installs Debian's where it may.
set -euo pipefail
missing=()
command -v chromium >/dev/null || missing+=(chromium)
fc-list 2>/dev/null | grep -qi "cjk" || missing+=(fontconfig fonts-noto-cjk)
((${#missing[@]})) || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "The console's tests need: ${missing[*]}. Please install them (on Debian: sudo apt-get install ${missing[*]})." >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
