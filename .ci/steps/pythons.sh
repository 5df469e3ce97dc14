# The package for Python passes its tests on every interpreter that can be had besides that of the step `python`:
# those of PATH and pyenv, those that LARDER_PYTHONS names (paths, also of free-threaded ones), and, if this is root
# on Debian, the newest of Debian in a folder of their own.
# Time limit: 0

folder=$target/pythons
mkdir -p "$folder"
# Both are found by every interpreter, in every root.
export PYO3_BUILD_EXTENSION_MODULE=1 PYTHONDONTWRITEBYTECODE=1
check=.ci/checks/python.sh
# One wheel serves every CPython that has the interpreter's lock. The first of them builds it.
wheels=$folder/wheels
rm -rf "$wheels"

tested=" " failed=
# Runs the tests with an interpreter of this name, by a command that is given the name of its folder and the place of
# its wheel. A failure does not keep the others from being tested.
test_with() {
    local name=$1 wheel=$wheels
    shift
    [[ $name != *pypy* && $name != *t ]] || wheel=
    tested+="$name "
    run "$@" "$folder/$name" $wheel || failed+=" $name"
}

for python in ${LARDER_PYTHONS-} {python3.{9,10,11,12,13,14,15},python3.{14,15}t,pypy3} \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python; do
    # Those of pyenv's shims that stand for nothing, and those that are too old, do not get through.
    name=$("$python" -c 'import sys; assert sys.version_info >= (3, 9)
print(sys.implementation.name, sys.version.split()[0] + getattr(sys, "abiflags", ""), sep="-")' 2>/dev/null) || continue
    [[ $tested == *" $name "* ]] || test_with "$name" bash $check "$python"
done

# Debian's newest interpreters want a newer libc than this machine may have, so they get a root of their own.
root_folder=$folder/debian
if ((EUID != 0)) || ! command -v debootstrap >/dev/null; then
    skip "Debian's newest interpreters (that needs root and debootstrap)"
elif [[ -e $root_folder/complete ]] || {
    rm -rf "$root_folder"
    run debootstrap --variant=minbase --include=python3-venv,python3.14-venv,python3.15-venv,pypy3-venv,gcc,libc6-dev \
        sid "$root_folder" >"$folder/debootstrap.log" && touch "$root_folder/complete"
}; then
    cp /etc/ssl/certs/ca-certificates.crt "$root_folder/etc/ssl/certs/"
    cp /etc/resolv.conf "$root_folder/etc/"
    export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
    for python in python3.{13,14,15} pypy3; do
        [[ -x $root_folder/usr/bin/$python ]] || continue
        # The mounts are gone with the command.
        test_with "debian-$python" unshare --mount bash -euc '
            new_root=$1
            for mounted in "$PWD" "$CARGO_HOME" "$RUSTUP_HOME" /proc /dev /dev/shm; do
                mkdir -p "$new_root$mounted" && mount --bind "$mounted" "$new_root$mounted"
            done
            shift
            chroot "$new_root" bash -c '\''cd "$0" && bash "$@"'\'' "$PWD" "$@"
        ' - "$root_folder" $check "$python"
    done
else
    skip "Debian's newest interpreters ($(tail -n 1 "$folder/debootstrap.log"))"
fi

[[ $tested == *t\ * ]] || skip "a free-threaded interpreter (there is none; LARDER_PYTHONS may name one)"
[[ $tested == *pypy* ]] || skip "PyPy (there is none)"
echo "tested:$tested"
[[ -z $failed ]] || die "the tests fail with$failed"
