# The package for Python: its Rust code is formatted and clean, the wheel builds, and its tests pass against the
# wheel, with Django's own tests of cache backends.
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
run "$python" -m pytest -q $crate/tests

# They are in Django's source distribution alone.
version=$("$python" -c 'import django; print(django.get_version())')
sources=$target/python/django
if [[ ! -d $sources/django-$version ]]; then
    mkdir -p "$sources"
    if run "$python" -m pip download --quiet --no-deps --no-binary django --dest "$sources" "Django==$version"; then
        tar -xzf "$sources"/[dD]jango-"$version".tar.gz -C "$sources"
        [[ -d $sources/django-$version ]] || mv "$sources/Django-$version" "$sources/django-$version"
    else
        skip "Django's tests of cache backends (its sources cannot be fetched)"
        exit 0
    fi
fi
run "$python" $crate/tests/run_django_tests.py "$sources/django-$version"
