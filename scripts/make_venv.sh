#!/usr/bin/env bash
# Make a virtual environment with pip: make_venv.sh PYTHON FOLDER
#
# Debian keeps what that needs in a package of its own, which is installed where possible.
set -uo pipefail
python=$1 folder=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12 ..." >&2
    exit 1
fi
"$python" -m venv --clear "$folder" >/dev/null 2>&1 && exit 0

package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing $package"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null
    apt-get install -y -qq --no-install-recommends "$package" </dev/null >/dev/null
fi
"$python" -m venv --clear "$folder" && exit 0
echo "no virtual environment: install $package, as with: apt-get install $package" >&2
exit 1
