"""What the tests share."""

import faulthandler
import sys

import pytest

import larder


@pytest.fixture(autouse=True)
def watchdog():
    """A test that hangs ends the run, and shows where every thread is."""
    faulthandler.dump_traceback_later(300, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def clock():
    return larder.ManualClock()
