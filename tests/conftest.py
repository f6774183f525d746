"""Settings shared by all tests."""

import os
from pathlib import Path

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
    lines = sorted(
        {
            f"left out: {report.longrepr[2].removeprefix('Skipped: ')}"
            for report in skipped
            if " install " in report.longrepr[2]
        }
    )
    for line in lines:
        terminalreporter.write_line(line)
    if file := os.environ.get("SEENN_LEFT_OUT"):  # `make test` ends with them
        Path(file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
