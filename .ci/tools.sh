# Tools that are not part of stable Rust. Sourced by the steps that need one.

# Installs the prebuilt tools; returns whether $1 is there.
have_tool() {
    # Two steps may want tools at the same time.
    mkdir -p "$tools"
    (
        ! command -v flock >/dev/null || flock 9
        install_wheels "$1"
    ) 9>"$tools/lock"
    command -v "$1" >/dev/null
}

install_wheels() {
    if [[ -f $tools/wheels/installed ]] && cmp -s .ci/tools.txt "$tools/wheels/installed"; then
        return
    fi
    echo "installing the tools of .ci/tools.txt"
    rm -rf "$tools/wheels"
    if PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps --only-binary :all: \
        --require-hashes --requirement .ci/tools.txt --target "$tools/wheels" </dev/null; then
        cp .ci/tools.txt "$tools/wheels/installed"
    else
        echo "they cannot be installed; looking for $1 elsewhere"
    fi
}

# Installs those of the Debian packages that are missing, as root on such a system; elsewhere the step uses
# what is there. Fails if they cannot be installed.
install_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    ((${#missing[@]} > 0)) && command -v apt-get >/dev/null && [[ $(id -u) == 0 ]] || return 0
    echo "installing ${missing[*]}"
    # No package may start a server here.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
        </dev/null >"$work/$step.packages" 2>&1
}

pinned_version() {
    sed -n "s/^.*$1==\([0-9.]*\).*/\1/p" .ci/tools.txt
}

# What runs cargo with unstable flags: the nightly, or the stable toolchain with the flags allowed.
unstable=() unstable_rustc=()
find_unstable() {
    if command -v rustup >/dev/null && rustup run nightly rustc --version >/dev/null 2>&1; then
        unstable=(cargo +nightly) unstable_rustc=(rustc +nightly)
    else
        echo "NO NIGHTLY TOOLCHAIN HERE: the stable one takes its flags (RUSTC_BOOTSTRAP=1)"
        unstable=(env RUSTC_BOOTSTRAP=1 cargo) unstable_rustc=(rustc)
    fi
    "${unstable_rustc[@]}" --version
}

# Whether the toolchain in `unstable` brings the run-time library of a sanitizer.
has_sanitizer() {
    local libraries
    libraries=$("${unstable_rustc[@]}" --print target-libdir)
    compgen -G "$libraries/librustc-*_rt.$1.a" >/dev/null
}
