#!/usr/bin/env bash
# ./run_all.sh [smoke|demo|study|paper] [PAPER…] [--cohort phantom|public] [--seed N|0-4] [--jobs N] [--train]
#     [--dry-run] [--rehearse] [--executor E] [-- …]
# ./run_all.sh test [PYTEST ARGUMENT…]
# ./run_all.sh check          style and types: ruff, mypy
# Sets up .venv unless the active environment (or $PYTHON) has what pyproject.toml asks for; then runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Python answers Ctrl-C by a traceback until it listens: while it starts, this shell alone hears it. In the background of
# a script nobody does.
hears=""
if [[ -z $(trap -p INT) ]]; then hears=1 && trap 'exit 130' INT; fi
quietly() { (trap '' INT && exec "$@"); }

is_new_enough() { quietly "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=""
for candidate in "${PYTHON:-}" "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" \
    .venv/bin/python python3 python3.{11..15}; do
    if [[ -n $candidate ]] && is_new_enough "$candidate"; then python=$candidate && break; fi
done
if [[ -z $python ]]; then
    echo "run_all.sh: needs Python 3.11 or later, and found $(python3 -V 2>/dev/null || echo none); name one by PYTHON=…" >&2
    exit 2
fi

extras=test
if [[ ${1:-} != test && ${1:-} != check ]]; then  # a typing error is answered before anything is installed
    extras=""
    quietly "$python" -m lib.runner.cli "$@" || exit $?
    case " $* " in *" -h "* | *" --help "*) exit ;; esac
fi

# Our own .venv carries a stamp, "incomplete" from before its first file to after its last.
stamp=$(cat pyproject.toml constraints.txt | cksum)
state=$(cat .venv/suite-stamp 2>/dev/null || true)
is_ready() {
    if [[ -n $state && $python =~ ^("$PWD/")?\.venv/ ]]; then
        found="incomplete or out of date" && [[ $state == "$stamp" ]]
    else
        found=$(quietly "$python" -m lib.runner.environment $extras)
    fi
}
if ! is_ready; then
    if [[ $state != "$stamp" ]]; then
        echo "Setting up .venv, which takes about two minutes and 2 GB ($python is $found)"
        if ! { mkdir -p .venv && echo incomplete >.venv/suite-stamp; } 2>/dev/null; then
            echo "run_all.sh: $PWD/.venv cannot be written: allow it, or name a Python that is complete by PYTHON=…" >&2
            exit 1
        fi
        .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
        for info in .venv/lib/python*/site-packages/*.dist-info; do  # cut off while it was installed: pip would trust it
            if [[ -d $info && ! -e $info/RECORD ]]; then rm -r "$info"; fi
        done
        .venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[test]'
        echo "$stamp" >.venv/suite-stamp
    fi
    python=.venv/bin/python
fi

case ${1:-} in
    test)  # the machine's Python may have plugins that nobody asked for, such as pytest-benchmark, which dies beside xdist
        export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
        # By files, in the order of tests/conftest.py, in which the longest come first.
        exec "$python" -m pytest -p xdist -n 2 --dist loadfile --no-loadscope-reorder "${@:2}"
        ;;
    check)
        "$python" -m ruff check .
        "$python" -m ruff format --check .
        exec "$python" -m mypy
        ;;
esac
if [[ $hears ]]; then trap '' INT && export SUITE_HEARS_INTERRUPTS=1; fi
exec "$python" -m lib.runner.suite "$@"
