"""Settings shared by all tests."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "seenn", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("seenn")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nojit: also run with NUMBA_DISABLE_JIT=1, so kept tiny")
