"""The tests of PyQuickCache 0.1.0, from its source distribution, against `larder.pyquickcache`; none differs.

    python run_pyquickcache_tests.py SOURCE
"""

import pathlib
import sys
import tempfile

import pytest

import pyquickcache


def main():
    source = pathlib.Path(sys.argv[1]).resolve()
    home = pathlib.Path(pyquickcache.__file__).resolve()
    assert source not in home.parents, "the package that is tested has to be the one of larder"
    with tempfile.TemporaryDirectory() as folder:
        # Outside of its repository, so that pytest reads no configuration of it.
        options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", folder]
        sys.exit(pytest.main([*options, str(source / "tests")]))


if __name__ == "__main__":
    main()
