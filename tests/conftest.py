"""Settings shared by all tests."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "seenn", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("seenn")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nojit: also run with NUMBA_DISABLE_JIT=1, so kept tiny")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which devices were left out for want of a tool, and how to get it."""
    skipped = terminalreporter.getreports("skipped")
    told = sorted({report.longrepr[2] for report in skipped if " install " in report.longrepr[2]})
    for line in told:
        terminalreporter.write_line(f"left out: {line.removeprefix('Skipped: ')}")
