#!/bin/sh
# Makes .venv with the tested versions, or sees within a moment that it is there already.
#   PYTHON=...   the Python to use (else the first that fits)
#   TORCH=cpu    torch's CPU build, from TORCH_CPU_INDEX, on Linux (else the ordinary index decides)
# Where wheelhouse/ is filled (make wheelhouse), everything comes from it and no network is used.
set -u
unset CDPATH
cd "$(dirname "$0")/.." || exit 1
root=$(pwd -P)
stamp=.venv/.complete   # written last: without it the environment is not finished
making=.venv/.making    # there from its first moment to its last: an interrupted set-up leaves it
pip_exit=.venv/.pip-exit
house=wheelhouse/made-for.txt

main() {
    case ${TORCH:-} in
        '' | cpu) ;;
        *) fail "TORCH=$TORCH is not known: use TORCH=cpu, or leave it out" ;;
    esac
    discard_if_unusable
    if [ -d .venv ] && complete; then exit 0; fi
    if [ ! -d .venv ]; then
        find_python
        check_disk
        make_venv
    fi
    rm -f "$stamp"
    install
    { printf '%s\n' "$root" "$(wanted)"; packages; } >"$stamp"
    rm -f "$making"
    say ".venv is ready"
}

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

# ---- the environment that is there ----------------------------------------------------------

wanted() { cat pyproject.toml constraints.txt | cksum; }
packages() { (cd .venv/lib/python3*/site-packages && ls -d ./*.dist-info); }

complete() {
    [ -f "$stamp" ] && [ "$(sed -n 2p "$stamp")" = "$(wanted)" ] || return 1
    site=$(echo .venv/lib/python3*/site-packages)
    sed 1,2d "$stamp" | while read -r package; do
        [ -d "$site/$package" ] || exit 1 # uninstalled or another version since: put it back
    done
}

discard_if_unusable() {
    [ -d .venv ] || return 0
    why=
    if [ -f "$making" ]; then
        why="was left half-made"
    elif [ -z "$(version_of .venv/bin/python)" ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        why="does not work any more"
    elif ! fits "$(version_of .venv/bin/python)"; then
        why="holds Python $(version_of .venv/bin/python)"
    elif [ -f "$stamp" ] && [ "$(sed -n 1p "$stamp")" != "$root" ]; then
        why="was made for another folder"
    elif cpu_build && [ -f "$stamp" ] && [ ! -f "$house" ] && ! cpu_build_there; then
        why="holds a GPU build of torch"
    fi
    [ -z "$why" ] && return 0
    say ".venv $why: making it again"
    rm -rf .venv
}

cpu_build() { [ "${TORCH:-}" = cpu ] && [ "$(uname -s)" = Linux ]; }
cpu_build_there() { ls -d .venv/lib/python3*/site-packages/torch-*+cpu*.dist-info >/dev/null 2>&1; }

# ---- what a new one needs -------------------------------------------------------------------

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
fits() { case $1 in 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else
        set -- python3.13 python3.12 python3.11 python3 python
    fi
    wheels_for=$(sed -n 1p "$house" 2>/dev/null)
    unfit=
    for name in "$@"; do
        python=$(command -v "$name") && version=$(version_of "$python") || continue
        if ! fits "$version"; then
            unfit=${unfit:-"Python $version ($python) does not fit. Install Python 3.11, 3.12 or 3.13"}
        elif [ -n "$wheels_for" ] && [ "$wheels_for" != "$version $(uname -sm)" ]; then
            unfit=${unfit:-"wheelhouse/ is for Python $wheels_for, and this is $version $(uname -sm). \
Install that Python, or remove wheelhouse/ and use the network"}
        elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
            unfit="Python $version ($python) has no venv module. Install it (Debian, Ubuntu: \
apt install python$version-venv)"
        else
            return 0
        fi
    done
    [ -n "$unfit" ] && fail "$unfit, then run this again (PYTHON=/path/to/python3 names one)"
    [ -n "${PYTHON:-}" ] && fail "PYTHON=$PYTHON does not run: name a Python 3.11, 3.12 or 3.13"
    fail "no Python found. Install Python 3.11, 3.12 or 3.13, then run this again"
}

check_disk() { # the environment, and what pip unpacks on the way (megabytes)
    need=3000 need_temporary=600 hint=
    if [ "$(uname -s)" = Linux ] && ! cpu_build && [ ! -f "$house" ]; then
        need=9000 need_temporary=4000 hint=", or set TORCH=cpu, which needs 3000 MB"
    fi
    enough . "$need"
    enough "${TMPDIR:-/tmp}" "$need_temporary"
}

enough() {
    free=$(df -Pk "$1" | awk 'NR == 2 { for (i = 2; i <= NF; i++) if ($i ~ /%$/) print int($(i - 1) / 1024) }')
    [ "${free:-$2}" -ge "$2" ] && return 0
    place=$1 && [ "$1" = . ] && place="this folder"
    fail "$free MB free in $place, and $2 MB are needed. Free some space$hint, then run this again"
}

# ---- making it ------------------------------------------------------------------------------

make_venv() {
    say "making .venv with Python $version ($python)"
    mkdir .venv && : >"$making" || fail "cannot write in $root: make it writable, then run this again"
    "$python" -m venv .venv || fail "$python could not make .venv: its own words are above"
}

install() {
    if [ -f "$house" ]; then
        say "installing the tested versions from wheelhouse/, without network"
        pip_install --isolated --no-index --find-links wheelhouse -c constraints.txt -e '.[test]'
        return
    fi
    say "installing the tested versions: minutes the first time"
    if cpu_build && ! cpu_build_there; then
        pip_install --no-deps --index-url "$TORCH_CPU_INDEX" -c constraints.txt torch
    fi
    pip_install -c constraints.txt -e '.[test]'
}

pip_install() { # a pipe hides pip's exit status, so it goes through a file
    { .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off "$@" 2>&1; echo $? >"$pip_exit"; } | shorten
    [ "$(cat "$pip_exit")" = 0 ] || fail "pip could not install the tested versions: its own words are above. \
Check the network (without one: make wheelhouse on a machine like this, copy the folder), then run this again"
}

shorten() { # the downloads by name, the warnings and the errors
    awk '/^Looking in|already satisfied|^ *Collecting|\.metadata|^ *Using cached|^ *Processing/ { next }
         /^WARNING: Location|ninstall|Found existing|^ *(Getting|Preparing|Checking|Build|Creat|Stor)/ { next }
         /Downloading/ { sub(/Downloading .*\//, "Downloading ") }
         /^(Installing collected|Successfully installed)/ { $0 = substr($0, 1, 70) "..." }
         { print; fflush() }'
}

main
