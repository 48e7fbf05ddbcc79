#!/bin/sh
# Fails unless $1 is statically linked and runs in an empty root (chroot where we may, else with an empty environment).
set -e
if ldd "$1" 2>&1 | grep -q '=>'; then echo "$1 is not static"; exit 1; fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp "$1" "$root/sinter"
if [ "$(id -u)" = 0 ]; then chroot "$root" /sinter --version; else env -i "$root/sinter" --version; fi
ls -l "$1"
