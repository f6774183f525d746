"""QCFS in torch: values, slopes, and the layouts of SEENN's conversion code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seenn_deploy.errors import ModelError
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.training.models import qcfs
from tests import checkpoints, checkpoints_qcfs, reference_qcfs
from tests.checkpoints import State
from tests.frontends.test_qcfs import SHARED_MODEL


def test_values_and_slopes() -> None:
    """Levels 0, V/4, .. V; slope 1 inside and 0 outside in z; in V what rounding left over."""
    act = qcfs.QCFS(levels=4, threshold=2.0)
    z = torch.tensor([-1.0, 0.2, 0.25, 0.7, 1.74, 1.8, 5.0], requires_grad=True)
    y = act(z)
    assert y.tolist() == [0.0, 0.0, 0.5, 0.5, 1.5, 2.0, 2.0]
    for i, (slope, left) in enumerate(
        [(0, 0), (1, -0.1), (1, 0.125), (1, -0.1), (1, -0.12), (1, 0.1), (0, 1)]
    ):
        by_z, by_v = torch.autograd.grad(y[i], (z, act.up), retain_graph=True)
        assert by_z[i] == slope
        assert float(by_v) == pytest.approx(left, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "model", "step", "size"),
    [
        (
            checkpoints_qcfs.resnet,
            lambda: qcfs.ResNet((3, 4, 6), (2, 1, 1)),
            reference_qcfs.resnet,
            8,
        ),
        (
            checkpoints_qcfs.vgg,
            lambda: qcfs.VGG(((4, 4), (6,), (8,)), hidden=12, size=16),
            reference_qcfs.vgg,
            16,
        ),
    ],
)
def test_seenns_state_dicts_load_and_compute_the_same(
    make: object, model: object, step: reference_qcfs.Step, size: int
) -> None:
    state: State = make()  # type: ignore[operator]
    net: torch.nn.Module = model()  # type: ignore[operator]
    net.load_state_dict(state, strict=True)
    x = checkpoints.images((4, 3, size, size), seed=1)
    want, _ = reference_qcfs.ann(step, state, x, 8)
    with torch.no_grad():
        got = net.double().eval()(torch.as_tensor(x).double())
    torch.testing.assert_close(got, torch.as_tensor(want), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [*qcfs.RESNETS, "vgg16"])
def test_every_architecture_is_read_by_the_compiler(tmp_path: Path, name: str) -> None:
    net = qcfs.build(name, classes=7, width=1 / 16)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    graph = import_model(tmp_path / "net.pth")
    assert graph.readout.shape == (7,)
    assert len(graph.layers) == 1 + sum(isinstance(m, qcfs.QCFS) for m in net.modules())
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_no_layer_is_silent_at_the_start(levels: int) -> None:
    """With few levels as with many: a layer of zeros alone would learn nothing."""
    torch.manual_seed(0)
    net = qcfs.build("vgg16", width=1 / 8, levels=levels)
    active: list[float] = []
    for module in net.modules():
        if isinstance(module, qcfs.QCFS):
            module.register_forward_hook(lambda *a: active.append(float((a[2] > 0).float().mean())))
    net(torch.randn(16, 3, 32, 32))
    assert len(active) == 15 and min(active) > 0.1


@pytest.mark.skipif(not SHARED_MODEL.is_file(), reason="the shared checkpoint is not there")
def test_the_shared_checkpoint_loads() -> None:
    state = torch.load(SHARED_MODEL, map_location="cpu", weights_only=True)
    qcfs.build("resnet20").load_state_dict(state, strict=True)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet21", {}, "'resnet21' does not exist; there are resnet8, resnet20,"),
        ("resnet20", {"classes": 0}, "classes = 0"),
        ("resnet20", {"levels": 0}, "levels = 0"),
        ("resnet20", {"width": 0}, "width = 0"),
    ],
)
def test_bad_input(name: str, options: dict[str, int], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        qcfs.build(name, **options)


def test_an_activation_without_levels() -> None:
    with pytest.raises(ModelError, match="QCFS of 0 levels"):
        qcfs.QCFS(0)
