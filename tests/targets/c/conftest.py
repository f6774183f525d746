"""Every test of the C target compiles something."""

import pytest

from tests.targets.c.tools import needs


@pytest.fixture(autouse=True)
def _compiler() -> None:
    needs("cc")
