#!/usr/bin/env bash
# Builds the package for one interpreter of Python and runs its tests with it:
#     bash .ci/checks/python.sh INTERPRETER FOLDER
# The folder keeps the environment and what was built.

set -euo pipefail
interpreter=$1 folder=$2
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
# None of this is measured, and a thin build takes half as long.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
rm -rf "$folder/wheels"
"$environment/bin/maturin" build --release --locked --interpreter "$python" --manifest-path $crate/Cargo.toml --out "$folder/wheels"
"$python" -m pip install --quiet --no-deps --force-reinstall "$folder/wheels"/*.whl
"$python" -m pytest -q -rs $crate/tests
