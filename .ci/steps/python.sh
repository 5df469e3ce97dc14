# The package for Python: its Rust code is formatted and clean, the wheel builds, and its tests pass against the
# wheel, with the tests of Django's cache backends, of cachetools and of PyQuickCache; the stubs fit.
# Time limit: 900

crate=crates/larder-python
run cargo fmt --manifest-path $crate/Cargo.toml -- --check --color never

environment=$target/python/venv
if ! cmp -s $crate/requirements.txt "$environment/installed"; then
    rm -rf "$environment"
    if run python3 -m venv "$environment" &&
        run "$environment/bin/python" -m pip install --quiet --requirement $crate/requirements.txt; then
        cp $crate/requirements.txt "$environment/installed"
    else
        rm -rf "$environment"
        skip "the package for Python (its tools cannot be installed)"
        exit 0
    fi
fi
python=$environment/bin/python

# Without the environment's path, the build would look for another interpreter.
export PYO3_PYTHON=$python CARGO_TARGET_DIR=$target/python/cargo PYTHONDONTWRITEBYTECODE=1
PYO3_BUILD_EXTENSION_MODULE=1 run cargo clippy --locked --release --manifest-path $crate/Cargo.toml -- -D warnings
wheels=$target/python/wheels
rm -rf "$wheels"
run "$environment/bin/maturin" build --release --locked --interpreter "$python" --manifest-path $crate/Cargo.toml --out "$wheels"
run "$python" -m pip install --quiet --no-deps --force-reinstall "$wheels"/*.whl
run "$python" -m pytest -q -rs $crate/tests

run "$python" $crate/tests/typed_program.py
run "$python" -m mypy --strict --cache-dir /dev/null $crate/tests/typed_program.py
run "$python" -m mypy.stubtest larder pyquickcache --concise --mypy-config-file $crate/tests/mypy.ini \
    --allowlist $crate/tests/stubtest.txt --ignore-positional-only

# Unpacks the source distribution of a package, in which alone its tests are, into a folder, and names that.
sources_of() {
    local package=$1 version=$2 folder=$target/python/sources
    if [[ ! -d $folder/$package-$version ]]; then
        mkdir -p "$folder"
        "$python" -m pip download --quiet --no-deps --no-binary "$package" --dest "$folder" \
            "$package==$version" >&2 || return
        tar -xzf "$folder/$package-$version.tar.gz" -C "$folder"
    fi
    echo "$folder/$package-$version"
}

version_of() {
    "$python" -c "import importlib.metadata; print(importlib.metadata.version('$1'))"
}

for package in cachetools pyquickcache django; do
    case $package in
        # What larder's shim stands for cannot be installed beside it.
        pyquickcache) version=0.1.0 ;;
        *) version=$(version_of "$package") ;;
    esac
    if source=$(sources_of "$package" "$version"); then
        run "$python" "$crate/tests/run_${package}_tests.py" "$source"
    else
        skip "the tests of $package (its sources cannot be fetched)"
    fi
done
