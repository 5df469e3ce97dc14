# The package for Python passes its tests on every interpreter that can be had besides that of the step `python`:
# those of PATH and pyenv, those that LARDER_PYTHONS names (paths, also of free-threaded ones), and, if this is root
# on Debian, the newest of Debian in a folder of their own.
# Time limit: 0

folder=$target/pythons
mkdir -p "$folder"
# Both are found by every interpreter, in every root.
export PYO3_BUILD_EXTENSION_MODULE=1 PYTHONDONTWRITEBYTECODE=1
check=.ci/checks/python.sh

tested=
for python in ${LARDER_PYTHONS-} {python3.{9,10,11,12,13,14,15},python3.{14,15}t,pypy3} \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python; do
    # Those of pyenv's shims that stand for nothing, and those that are too old, do not get through.
    identity=$("$python" -c 'import sys; assert sys.version_info >= (3, 9)
print(sys.implementation.name, sys.version.split()[0] + getattr(sys, "abiflags", ""), sep="-")' 2>/dev/null) || continue
    [[ " $tested " != *" $identity "* ]] || continue
    tested+=" $identity"
    run bash $check "$python" "$folder/$identity"
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
    cargo_home=${CARGO_HOME:-$HOME/.cargo} rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
    for python in python3.{13,14,15} pypy3; do
        [[ -x $root_folder/usr/bin/$python ]] || continue
        tested+=" Debian's $python"
        # The mounts are gone with the command.
        run unshare --mount bash -euc '
            for mounted in "$2" "$3" "$4" /proc /dev /dev/shm; do
                mkdir -p "$1$mounted" && mount --bind "$mounted" "$1$mounted"
            done
            CARGO_HOME=$3 RUSTUP_HOME=$4 chroot "$1" bash -c "cd \"$2\" && bash \"$5\" \"$6\" \"$7\""
        ' - "$root_folder" "$root" "$cargo_home" "$rustup_home" $check "$python" "$folder/debian-$python"
    done
else
    skip "Debian's newest interpreters ($(tail -n 1 "$folder/debootstrap.log"))"
fi

[[ $tested == *cpython-*t* ]] || skip "a free-threaded interpreter (there is none; LARDER_PYTHONS may name one)"
[[ $tested == *pypy* ]] || skip "PyPy (there is none)"
echo "tested:$tested"
