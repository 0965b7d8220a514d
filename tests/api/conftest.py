import pytest

from fixtures import SHARED
from llmlab_server import assert_rollups_equal_events


@pytest.fixture(scope="module", autouse=True)
def rollups_hold():
    """After every module the sums must be those of the events, digit by digit."""
    yield
    for server in SHARED:
        database = server.database()
        assert_rollups_equal_events(database)
        database.close()
