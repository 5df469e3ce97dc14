#!/usr/bin/env bash
# Runs the tests of the package for Python with one interpreter:
#     bash .ci/checks/python.sh INTERPRETER FOLDER [WHEELS]
# WHEELS is where the wheel is, or is to be, that serves this interpreter and others; without it, one is built for this
# interpreter alone. FOLDER keeps the environment and what was built.

set -euo pipefail
interpreter=$1 folder=$2 wheels=${3-}
crate=crates/larder-python
environment=$folder/venv

if [[ ! -e $folder/installed ]]; then
    rm -rf "$environment"
    "$interpreter" -m venv "$environment"
    # The newest that serve this interpreter: those that are pinned may be too new. What would have to be compiled
    # is left out if it is not needed; the tests that want it say that they skip.
    "$environment/bin/python" -m pip install --quiet maturin pytest Django cachetools redis gunicorn
    for wanted in zstandard uwsgi; do
        "$environment/bin/python" -m pip install --quiet "$wanted" || echo "SKIPPED: $wanted cannot be installed"
    done
    touch "$folder/installed"
fi
python=$environment/bin/python
export PYO3_PYTHON=$python CARGO_TARGET_DIR=$folder/cargo PYTHONDONTWRITEBYTECODE=1
if [[ -z $wheels ]]; then
    wheels=$folder/wheels
    rm -rf "$wheels"
fi
if ! compgen -G "$wheels/*.whl" >/dev/null; then
    # None of this is measured, and a thin build takes half as long.
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    "$environment/bin/maturin" build --release --locked --interpreter "$python" --manifest-path $crate/Cargo.toml --out "$wheels"
fi
"$python" -m pip install --quiet --no-deps --force-reinstall "$wheels"/*.whl
"$python" -m pytest -q -rs $crate/tests
