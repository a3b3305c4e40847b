#!/usr/bin/env bash
# Set-up behind `make setup`: `setup.sh system` sees to ngspice, `setup.sh venv` to .venv.
#
# Environment: PYTHON (empty: that of a finished .venv, else python3), TORCH_INDEX (empty: pip's usual index), NGSPICE_LIBRARY_PATH (empty: search).
# Exit status: 0 ready; 2 something is missing that may not be installed from here, with one line to copy.
# Plain enough for bash 3.2, which macOS ships.
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}/.."

PYTHON=${PYTHON:-}
TORCH_INDEX=${TORCH_INDEX:-}
NGSPICE_LIBRARY_PATH=${NGSPICE_LIBRARY_PATH:-}
VENV=.venv

venv_works() { "$VENV/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Whoever chose a Python for set-up need not name it again for `make test`.
if [ -z "$PYTHON" ]; then
    if [ -f "$VENV/.ready" ] && venv_works; then PYTHON=$VENV/bin/python; else PYTHON=python3; fi
fi

stop() { # message, line to copy
    printf 'setup: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf '  %s\n' "$2" >&2; fi
    exit 2
}

require_python() {
    command -v "$PYTHON" >/dev/null 2>&1 ||
        stop "there is no '$PYTHON'; Python 3.11 or newer is needed. Name yours:" "make setup PYTHON=/path/to/python3.11"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "'$PYTHON' is $("$PYTHON" --version 2>&1); Python 3.11 or newer is needed. Name a newer one:" \
            "make setup PYTHON=python3.11"
}

has_library() { # NGSPICE_LIBRARY_PATH may hold PySpice's placeholder {}
    if [ -n "$NGSPICE_LIBRARY_PATH" ]; then
        local path=$NGSPICE_LIBRARY_PATH
        while [ "$path" != "${path/\{\}/}" ]; do path=${path/\{\}/}; done
        [ -f "$path" ]
    else
        "$PYTHON" -c 'import ctypes.util, sys; sys.exit(ctypes.util.find_library("ngspice") is None)'
    fi
}

has_program() { command -v ngspice >/dev/null 2>&1; }

# Debian keeps ensurepip in a package of its own; a .venv that works needs it no more.
has_venv() { "$PYTHON" -c 'import ensurepip' 2>/dev/null || venv_works; }

venv_package() { # Debian's own python3, or another minor version beside it
    local minor
    minor=$("$PYTHON" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    if [ "$(/usr/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$minor" ]; then
        echo python3-venv
    else
        echo "$minor-venv"
    fi
}

list_missing() { # package names for apt-get or brew
    local missing=""
    if [ "$1" = apt-get ]; then
        has_venv || missing="$missing $(venv_package)"
        has_library || missing="$missing libngspice0"
    else
        has_library || missing="$missing libngspice"
    fi
    has_program || missing="$missing ngspice"
    echo "${missing# }"
}

install_system() {
    if [ -n "$NGSPICE_LIBRARY_PATH" ] && ! has_library; then
        stop "NGSPICE_LIBRARY_PATH=$NGSPICE_LIBRARY_PATH is no file; correct it, or drop it to use the system's:" \
            "unset NGSPICE_LIBRARY_PATH"
    fi
    local installer=apt-get missing
    command -v apt-get >/dev/null 2>&1 || ! command -v brew >/dev/null 2>&1 || installer=brew
    missing=$(list_missing "$installer")
    if [ -z "$missing" ]; then return; fi
    if ! command -v "$installer" >/dev/null 2>&1; then
        stop "missing: $missing. There is neither apt-get nor brew here: install ngspice and its shared library with your package manager, or set NGSPICE_LIBRARY_PATH to the library's file."
    fi
    echo "setup: installing $missing with $installer"

    # $missing stays unquoted below: it is a list of words.
    if [ "$installer" = brew ]; then
        # shellcheck disable=SC2086
        brew install $missing || stop "brew could not install $missing. Try it yourself:" "brew install $missing"
        missing=$(list_missing brew)
        [ -z "$missing" ] || stop "installed, but not found: $missing. Point to the library:" \
            'export NGSPICE_LIBRARY_PATH="$(brew --prefix)/lib/libngspice.dylib"'
        return
    fi

    local by_hand="sudo apt-get update && sudo apt-get install -y $missing"
    if [ "$(id -u)" = 0 ]; then
        by_hand="apt-get update && apt-get install -y $missing"
        # shellcheck disable=SC2086
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y $missing; } ||
            stop "apt-get could not install $missing. Try it yourself:" "$by_hand"
    else
        sudo -n true 2>/dev/null || stop "$missing may not be installed from here (no sudo without a password). Run:" "$by_hand"
        # shellcheck disable=SC2086
        { sudo -n apt-get update && sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install -y $missing; } ||
            stop "apt-get could not install $missing. Try it yourself:" "$by_hand"
    fi
    hash -r
    missing=$(list_missing apt-get)
    [ -z "$missing" ] || stop "installed, but still not found: $missing. See where the library went:" "dpkg -L libngspice0"
}

install_venv() {
    if ! venv_works; then
        echo "setup: making $VENV with $("$PYTHON" --version)"
        "$PYTHON" -m venv --clear "$VENV"
    fi
    local pip="$VENV/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt"

    $pip setuptools # the build backend; before torch, or pip complains of torch's missing requirements

    # torch first and alone, so that its build can be chosen. A torch-only index lacks our pins of torch's own
    # requirements: those come with the last step, from the usual index.
    echo "setup: installing torch${TORCH_INDEX:+ from $TORCH_INDEX}"
    if [ -n "$TORCH_INDEX" ]; then
        $pip --index-url "$TORCH_INDEX" --no-deps torch
    else
        $pip torch
    fi

    echo "setup: installing tellegen and what it needs"
    # compat: a plain path entry, which type checkers and other projects can follow.
    $pip --no-build-isolation -e '.[dev]' --config-settings editable_mode=compat
    # The other solver of crossbars with wires that tests are held against. Its own requirements hold pycairo, which
    # only its plots need, and which has to be built: so without them, but for the two that its solver imports.
    $pip --no-deps badcrossbar pathvalidate sigfig
    touch "$VENV/.ready"
}

require_python
case "${1:-}" in
system) install_system ;;
venv) install_venv ;;
*) stop "say what: setup.sh system, or setup.sh venv" ;;
esac
