"""What ``sd.training`` offers, and what it says where torch is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import seenn_deploy as sd

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import seenn_deploy as sd
print(*[name for name in sd.training.__all__ if name in dir(sd.training)])
try:
    sd.training.train_snn
except sd.SeennError as error:
    print(error)
"""


def test_every_name_is_there_with_its_description() -> None:
    for name in sd.training.__all__:
        found = getattr(sd.training, name)
        assert found.__name__ == name
        assert "Parameters\n" in found.__doc__
        assert name in (sd.training.__doc__ or "")
    with pytest.raises(AttributeError, match="no attribute 'train_rnn'"):
        _ = sd.training.train_rnn


def test_without_torch_there_is_one_line() -> None:
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True
    )
    names, error = told.stdout.splitlines()
    assert names.split() == sd.training.__all__
    assert error == "training needs torch: pip install 'seenn-deploy[torch]'"
