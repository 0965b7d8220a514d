import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from fixtures import *  # noqa: E402,F401,F403 (pytest finds fixtures by name)

import pytest  # noqa: E402

from fixtures import SHARED  # noqa: E402
from llmlab_server import assert_rollups_equal_events  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def rollups_hold():
    """After every module the sums must be those of the events, digit by digit."""
    yield
    for server in SHARED:
        database = server.database()
        assert_rollups_equal_events(database)
        database.close()
