"""Settings shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import seenn_deploy

settings.register_profile(
    "seenn", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("seenn")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nojit: also run with NUMBA_DISABLE_JIT=1, so kept tiny")
    _forget_stale_kernels()


def _forget_stale_kernels() -> None:
    """Compiled kernels are cached by the date of kernels.py; what they inline may be newer."""
    folder = Path(seenn_deploy.__file__).parent / "simulator"
    kernels = folder / "kernels.py"
    inlined = max(path.stat().st_mtime for path in folder.glob("vector*.py"))
    if inlined > kernels.stat().st_mtime:
        os.utime(kernels)
