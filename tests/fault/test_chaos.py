"""The items of the long form (long.py) at small sizes: what they promise, not how fast."""
import pytest

import durability
import overload
from run import Run

# A8 is a ratio of two measurements: that needs minutes and a quiet machine.
ITEMS = {n: i for n, i in (durability.ITEMS | overload.ITEMS).items() if n != "A8"}


@pytest.fixture(scope="module")
def run(no_process_left):
    return Run()


@pytest.mark.parametrize("name", ITEMS)
def test_item(run, name):
    run.notes.clear()
    run.do(name, ITEMS[name])
    assert run.notes
    failed = [n for n in run.notes if not n["passed"]]
    assert not failed, failed
