"""Which tests the processes of `pytest -n` take together, and which of them begin first.

A process takes a file at a time: its fixtures are made once, and its tests keep their order. Files whose tests have nothing in common,
and single tests that wait for minutes, are taken by themselves. What takes longest begins first, so that nobody is left with it.
"""
# Each test of these by itself.
APART = ("tests/fault/test_chaos.py::", "tests/api/test_alerts.py::test_alert_comes_although_the_database")

# Files and tests that take long, longest first.
LONGEST = (
    "tests/api/test_alerts.py::test_alert_comes_although_the_database", "tests/api/test_injection.py", "tests/api/test_own_prices.py",
    "tests/api/test_export.py", "tests/api/test_isolation.py", "tests/deploy/test_restore.py", "tests/contract/test_checker.py",
    "tests/contract/test_client.py", "tests/api/test_throttle.py", "tests/api/test_breakdown.py", "tests/api/test_webhooks.py",
    "tests/api/test_program.py", "tests/api/test_alerts.py")


def unit_of(nodeid):
    """The name of what is taken together with this test."""
    return nodeid if nodeid.startswith(APART) else nodeid.split("::", 1)[0]


def rank(nodeid):
    """Smaller ones begin earlier; the same for all tests of a unit."""
    for i, name in enumerate(LONGEST):
        if unit_of(nodeid).startswith(name):
            return i
    return len(LONGEST)


def scheduler(config, log):
    """For the hook of pytest-xdist, whose units are files unless told otherwise."""
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return unit_of(nodeid)

    return Units(config, log)
