#!/bin/sh
# Everything that `make demo` and `make test` need: Debian's packages, where they are missing and may be
# installed, and the virtual environment .venv with the versions of constraints.txt.
# Usage: scripts/setup.sh [PROGRAM:PACKAGE]...
set -eu
cd "$(dirname "$0")/.."

install() {
    if ! command -v apt-get >/dev/null; then
        echo "error: please install $* (there is no apt-get here)" >&2
        exit 6
    fi
    if [ "$(id -u)" -eq 0 ]; then as_root=""
    elif sudo -n true 2>/dev/null; then as_root="sudo -n"
    else
        echo "error: please install $*, as root: apt-get install $*" >&2
        exit 6
    fi
    echo "installing $*" >&2
    $as_root apt-get update -qq >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

missing=""
for wanted in "$@"; do
    program=${wanted%%:*}
    # sshd is in /usr/sbin, which is not on everybody's PATH.
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing="$missing ${wanted#*:}"
done

python=""
for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "error: Python 3.11 or newer is needed, and $(python3 --version 2>&1) is here: install python3.11 and python3.11-venv" >&2
    exit 6
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
# shellcheck disable=SC2086 # a list of package names
[ -z "$missing" ] || install $missing

stamp=$(cat pyproject.toml constraints.txt | cksum)
if [ "$(cat .venv/ready 2>/dev/null)" != "$stamp" ]; then
    rm -rf .venv
    "$python" -m venv .venv
    # The constraints hold for what builds the package, too.
    PIP_CONSTRAINT="$PWD/constraints.txt" .venv/bin/pip install --quiet --disable-pip-version-check -e '.[sandbox,dev]'
    echo "$stamp" >.venv/ready
fi
