"""Tests on hosts made of network namespaces: `make test-lan` runs them."""

from collections.abc import Iterator

import pytest

from lan.hosts import MEASURED, Lan, can_make_hosts

if not can_make_hosts():
    # Without namespaces of their own these would speak to the machine's network.
    collect_ignore_glob = ["test_*.py"]


_measured: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather what was measured, in whatever process."""
    if report.when == "teardown":
        _measured.extend(str(line) for name, line in report.user_properties if name == "measured")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show it."""
    for line in sorted(_measured):
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture
def lan(request: pytest.FixtureRequest) -> Iterator[Lan]:
    """Hosts and networks, which are gone afterwards."""
    MEASURED.clear()
    lan = Lan()
    try:
        yield lan
    finally:
        request.node.user_properties += [("measured", line) for line in MEASURED]
        lan.close()
        # Shown if the test has failed.
        print(lan.report())
