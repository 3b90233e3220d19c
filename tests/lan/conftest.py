"""Tests on hosts made of network namespaces: `make test-lan` runs them."""

from collections.abc import Iterator

import pytest

from lan.hosts import MEASURED, Lan, can_make_hosts

if not can_make_hosts():
    # Without namespaces of their own these would speak to the machine's network.
    collect_ignore_glob = ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    for line in MEASURED:
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture
def lan(request: pytest.FixtureRequest) -> Iterator[Lan]:
    """Hosts and networks, which are gone afterwards."""
    lan = Lan()
    try:
        yield lan
    finally:
        lan.close()
        # Shown if the test has failed.
        print(lan.report())
