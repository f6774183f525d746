"""The Lava interpreter that these tests run for real: named, or made where setup-lava makes it."""

import fcntl
import os
from pathlib import Path

import pytest

from seenn_deploy.targets.lava import interpreter


@pytest.fixture(scope="session")
def lava() -> Path:
    """Path of a Python with lava. One worker makes it while the others wait."""
    named = os.environ.get("SEENN_LAVA_PYTHON")
    if named:
        return interpreter.check(Path(named), "SEENN_LAVA_PYTHON").python
    home = interpreter.home()
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.parent / f".{home.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return interpreter.setup_lava(home).python


@pytest.fixture(scope="session", autouse=True)
def _found(lava: Path) -> None:
    """What the product looks for first."""
    os.environ["SEENN_LAVA_PYTHON"] = str(lava)
