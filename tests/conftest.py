"""Fixtures of all tests against real servers, and what several processes of pytest (-n) take in which order."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))

from fixtures import *  # noqa: E402,F401,F403 (pytest finds fixtures by name)

import pytest  # noqa: E402

import lanes  # noqa: E402


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return lanes.scheduler(config, log)


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # alone, the order of the files is as good as any
        items.sort(key=lambda item: lanes.rank(item.nodeid))
