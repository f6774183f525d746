"""Import paths of earlier releases: they warn, and give the very objects of the new places."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

OLD = {
    ("models", "build"): "training.models",
    ("models.resnet", "ResNet"): "training.models.resnet",
    ("graph", "Conv2d"): "ir.maps",
    ("graph", "Population"): "ir.graph",
    ("program", "Program"): "ir.program",
    ("building", "Net"): "frontends.base",
    ("import_report", "reported"): "frontends.base",
    ("loss_report", "LossReport"): "fidelity",
    ("adapters", "Neuron"): "frontends.torch.adapters.base",
    ("data", "open_images"): "io.images.image_set",
    ("data.events", "Binning"): "io.images.events",
    ("schedules", "latency"): "ir.schedule",
}


@pytest.mark.parametrize(("old", "new"), OLD.items(), ids=lambda x: x if isinstance(x, str) else "")
def test_an_old_path_warns_and_works(old: tuple[str, str], new: str) -> None:
    module, name = old
    sys.modules.pop(f"seenn_deploy.{module}", None)
    with pytest.warns(DeprecationWarning, match=f"seenn_deploy.{module} is now seenn_deploy"):
        found = getattr(import_module(f"seenn_deploy.{module}"), name)
    assert found is getattr(import_module(f"seenn_deploy.{new}"), name)


def test_a_loss_report_is_a_fidelity_report_now() -> None:
    fidelity = import_module("seenn_deploy.fidelity")
    with pytest.warns(DeprecationWarning, match="LossReport is now FidelityReport"):
        assert fidelity.LossReport is fidelity.FidelityReport
    with pytest.raises(AttributeError):
        _ = fidelity.GainReport


def test_the_warning_points_to_the_line_that_imports() -> None:
    code = "import seenn_deploy\nfrom seenn_deploy.models import build\n"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith("<string>:2: DeprecationWarning: seenn_deploy.models is now")


def test_what_never_was_there_is_not_found() -> None:
    for name in ("seenn_deploy.nothing", "seenn_deploy.models.nothing"):
        with pytest.raises(ModuleNotFoundError):
            import_module(name)
    with pytest.raises(AttributeError):
        _ = import_module("seenn_deploy.graph").never_was_here
