"""Compilers and emulators that tests of devices need: outside CI, what is missing is left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec

import pytest

from seenn_deploy.targets import devices
from seenn_deploy.targets.c.emulator import Tool

COMPILERS = {"cc": Tool("cc", "gcc"), "clang": Tool("clang", "clang libclang-rt-14-dev")}
MULTILIB = "gcc-multilib libclang-rt-14-dev"


def needs(name: str) -> None:
    """Leave the test out where a device's tools, or a compiler, are missing; in CI let it fail."""
    remedy = _missing(name)
    if remedy and not os.environ.get("CI"):
        # tests/conftest.py prints these lines at the end.
        pytest.skip(f"{name} is not here: {remedy}")


def _missing(name: str) -> str:
    """What to install; "" where everything is there."""
    if name == "zig":
        return "" if find_spec("ziglang") or shutil.which("zig") else "pip install ziglang"
    if name.endswith(" -m32"):
        return "" if _compiles(name) else f"apt-get install {MULTILIB}"
    if name in COMPILERS:
        tools = [COMPILERS[name]]
    else:
        made = devices.find(name).make
        tools = [made.compiler, made.emulator]  # type: ignore[attr-defined]
    packages = " ".join(tool.packages for tool in tools if shutil.which(tool.name) is None)
    return packages and f"apt-get install {packages}"


def _compiles(command: str) -> bool:
    """Whether a compiler makes programs of 32 bits, which takes a C library of its own."""
    compiler, *options = command.split()
    if shutil.which(compiler) is None:
        return False
    source = b'#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'
    with tempfile.TemporaryDirectory() as work:
        full = [compiler, *options, "-x", "c", "-", "-o", f"{work}/built"]
        return not subprocess.run(full, input=source, capture_output=True, check=False).returncode
