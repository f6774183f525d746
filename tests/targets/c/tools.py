"""Compilers and emulators that tests of devices need: outside CI, what is missing is left out."""

from __future__ import annotations

import os
import shutil

import pytest

from seenn_deploy.targets import devices
from seenn_deploy.targets.c.emulator import Tool

COMPILERS = {"cc": Tool("cc", "gcc"), "clang": Tool("clang", "clang libclang-rt-14-dev")}


def needs(name: str) -> None:
    """Leave the test out where a device's tools, or a compiler, are missing; in CI let it fail."""
    if name in COMPILERS:
        tools = [COMPILERS[name]]
    else:
        made = devices.find(name).make
        tools = [made.compiler, made.emulator]  # type: ignore[attr-defined]
    missing = [tool.packages for tool in tools if shutil.which(tool.name) is None]
    if missing and not os.environ.get("CI"):
        # tests/conftest.py prints these lines at the end.
        pytest.skip(f"{name} is not here: apt-get install {' '.join(missing)}")
