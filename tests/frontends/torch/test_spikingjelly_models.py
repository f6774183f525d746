"""SpikingJelly's own models, small ones of each family: every layer spikes, logits are its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import seenn_deploy as sd
from tests.frontends.torch.networks import calibrated

T, CLASSES = 2, 10
LIF = {"spiking_neuron": neuron.LIFNode, "detach_reset": True}
PLIF = {"spiking_neuron": neuron.ParametricLIFNode, "detach_reset": True}


@pytest.fixture(autouse=True)
def _model_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two model files import a downloader of torchvision, which is not needed here."""
    torch.manual_seed(0)
    utils: Any = ModuleType("torchvision.models.utils")
    utils.load_state_dict_from_url = None
    for module in (ModuleType("torchvision"), ModuleType("torchvision.models"), utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def model(file: str) -> Any:
    return import_module(f"spikingjelly.activation_based.model.{file}")


def resnet(block: str, **options: Any) -> nn.Module:
    file = model("spiking_resnet")
    return file.SpikingResNet(getattr(file, block), [1] * 4, CLASSES, **options, **LIF)


def sew(block: str, cnf: str = "ADD") -> nn.Module:
    file = model("sew_resnet")
    return file.SEWResNet(getattr(file, block), [2, 1, 1, 1], CLASSES, cnf=cnf, **LIF)


def ms_resnet(kind: str = "MSResNet", **options: Any) -> nn.Module:
    small = {"layers": (2, 1, 1), "base_channels": 8, "stem_kernel_size": 3, "stem_stride": 1}
    return getattr(model("ms_resnet"), kind)(T, num_classes=CLASSES, **small, **options)


def vgg(batch_norm: bool) -> nn.Module:
    """Its pool makes 7x7 of 1x1, and of 2x2, which 7 is no multiple of."""
    net = model("spiking_vgg").SpikingVGG(
        [8, "M", 512, "M", *(["M"] if batch_norm else [])], batch_norm, layer.BatchNorm2d,
        CLASSES, **LIF,
    )  # fmt: skip
    net.classifier[0] = layer.Linear(512 * 49, 32)
    net.classifier[3] = layer.Linear(32, 32)
    net.classifier[6] = layer.Linear(32, CLASSES)
    return net


def online_vgg(standardised: bool) -> nn.Module:
    net = model("spiking_vggws_ottt").OTTTSpikingVGG(
        [8, "M", 512], standardised, CLASSES, spiking_neuron=neuron.OTTTLIFNode
    )
    functional.set_step_mode(net, "s")
    return net


def plif(kind: str) -> nn.Module:
    return getattr(model("parametric_lif_net"), kind)(4, **PLIF)


def spike_dhs(as_it_is: bool = False) -> nn.Module:
    """Cells whose channels are put side by side, behind images that get another size."""
    cells = {"fea_step": 3, "fea_num_layers": 8, "fea_block_multiplier": 3}
    file = model("spike_dhs")
    net = file.SpikeDHS(3, SimpleNamespace(fea_filter_multiplier=2, **cells))
    net.classifier, net._time_step = file.SpikingLinear(24, CLASSES, spiking=False), T
    net.feature.auxiliary_head = nn.Identity()  # of training alone
    net.global_pooling.spike.v_threshold = 0.1
    for part in list(net.modules()):  # of the search for an architecture alone
        for name in [n for n in part._modules if n.endswith(("_s", "_b")) or n == "spikes"]:
            del part._modules[name]
    if not as_it_is:
        net.feature.cells[0].downup_sample = int(net.feature.cells[0].downup_sample)
    return net


def frames(channels: int, size: int) -> Tensor:
    return (torch.rand(T, 2, channels, size, size) < 0.3).float()


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "spiking_resnet": (lambda: resnet("BasicBlock"), lambda: torch.rand(T, 2, 3, 8, 8)),
    "spiking_resnext": (
        lambda: resnet("Bottleneck", groups=2, width_per_group=4),
        lambda: torch.rand(T, 2, 3, 8, 8),
    ),
    "sew_resnet": (lambda: sew("BasicBlock"), lambda: torch.rand(T, 2, 3, 8, 8)),
    "sew_resnet, and": (lambda: sew("BasicBlock", "AND"), lambda: torch.rand(T, 2, 3, 8, 8)),
    "sew_resnet, iand": (lambda: sew("BasicBlock", "IAND"), lambda: torch.rand(T, 2, 3, 8, 8)),
    "ms_resnet": (ms_resnet, lambda: torch.rand(2, 3, 16, 16)),
    "ms_resnet, max": (lambda: ms_resnet("MaxResNet"), lambda: torch.rand(2, 3, 16, 16)),
    "ms_resnet, stem pool": (
        lambda: ms_resnet(stem_pool=True), lambda: torch.rand(2, 3, 16, 16)
    ),
    "spiking_vgg": (lambda: vgg(False), lambda: torch.rand(T, 2, 3, 8, 8)),
    "spiking_vgg_bn": (lambda: vgg(True), lambda: torch.rand(T, 2, 3, 8, 8)),
    "ottt_vgg": (lambda: online_vgg(False), lambda: torch.rand(2, 3, 8, 8)),
    "ottt_vgg_ws": (lambda: online_vgg(True), lambda: torch.rand(2, 3, 8, 8)),
    "spike_dhs": (spike_dhs, lambda: torch.rand(2, 3, 8, 8)),
    "MNISTNet": (lambda: plif("MNISTNet"), lambda: torch.rand(T, 2, 1, 28, 28)),
    "NMNISTNet": (lambda: plif("NMNISTNet"), lambda: frames(2, 34)),
    "CIFAR10Net": (lambda: plif("CIFAR10Net"), lambda: torch.rand(T, 2, 3, 32, 32)),
    "CIFAR10DVSNet": (lambda: plif("CIFAR10DVSNet"), lambda: frames(2, 128)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_model_s_own(name: str) -> None:
    make, data = MODELS[name]
    net, x = make(), data()
    one_step = name.startswith("ottt")
    if not one_step:
        functional.set_step_mode(net, "m")
    waken(net, x)
    graph = sd.import_model(net, x, T=T)
    functional.reset_net(net)
    with torch.no_grad():
        steps = torch.stack([net(x) for _ in range(T)]) if one_step else net(x)
    steps = steps[0] if isinstance(steps, tuple) else steps
    images = x.transpose(0, 1) if graph.source.coding == "events" else x
    run = sd.simulate(sd.compile(graph), images.numpy(), full_trace=True, record=True)
    assert [n for n, spikes in run.spikes.items() if not spikes.any()] == []
    want = steps.transpose(0, 1).cumsum(1).numpy() if steps.ndim == 3 else T * steps[:, None]
    np.testing.assert_allclose(run.logits[:, -want.shape[1] :], want, rtol=1e-5, atol=1e-6)
    assert want.std() > 0 or name.endswith("Net")  # their last layer is of few neurons that vote


def snas() -> nn.Module:
    """The architecture that its authors publish, 0302 0030 3003 0000, with few channels."""
    file, steps = model("snas_net"), 4
    mat = torch.tensor([[0, 3, 0, 2], [0, 0, 3, 0], [3, 0, 0, 3], [0, 0, 0, 0]])
    args = SimpleNamespace(
        dataset="tinyimagenet", celltype="forward", timestep=steps, second_avgpooling=16,
        threshold=1.0, tau=4 / 3,
    )  # fmt: skip
    net = file.SNASNet(args, mat)
    cell = file.Neuronal_Cell_backward
    net.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
    net.cell1, net.cell2 = cell(args, 6, 6, mat), cell(args, 8, 8, mat)
    lif, wider = neuron.LIFNode(4 / 3), nn.Conv2d(6, 8, 3, padding=1, bias=False)
    net.downconv1 = nn.Sequential(nn.BatchNorm2d(6), lif, wider, nn.BatchNorm2d(8))
    net.last_act = nn.Sequential(nn.BatchNorm2d(8), neuron.LIFNode(4 / 3))
    net.resdownsample2 = nn.AvgPool2d(2)
    net.classifier = nn.Sequential(nn.Linear(32, 16), neuron.LIFNode(4 / 3), nn.Linear(16, 50))
    return net


def test_connections_back_of_a_searched_architecture() -> None:
    net, x = snas(), torch.rand(4, 3, 8, 8)
    waken(net, x)
    graph = sd.import_model(net, x)
    functional.reset_net(net)
    with torch.no_grad():
        want = net(x).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True, record=True)
    assert [n for n, spikes in run.spikes.items() if not spikes.any()] == []
    assert any(edge.lag for edge in graph.projections) and want.std() > 0
    np.testing.assert_allclose(run.logits[:, -1], want, rtol=1e-5, atol=1e-5)


def test_a_tensor_as_condition_is_refused_by_line() -> None:
    net = spike_dhs(as_it_is=True)
    functional.set_step_mode(net, "m")
    with pytest.raises(sd.SeennError, match=r"spike_dhs\.py:\d+.*condition") as caught:
        sd.import_model(net.eval(), torch.rand(2, 3, 8, 8))
    assert "\n" not in str(caught.value)


def waken(net: nn.Module, x: Tensor) -> None:
    """Calibrate batch norm, then strengthen the weights in front of each layer that is silent."""
    calibrated(net, x, 0, 1)
    parts = dict(net.named_modules())
    for name, part in parts.items():
        if isinstance(part, neuron.BaseNode):
            before = list(parts)[: list(parts).index(name)]
            weights = [parts[n] for n in before if isinstance(parts[n], nn.Conv2d | nn.Linear)][-1]
            for _ in range(20):
                if spikes_of(net, part, x):
                    break
                weights.weight.data.mul_(2)
    functional.reset_net(net)


def spikes_of(net: nn.Module, part: nn.Module, x: Tensor) -> float:
    total = []
    handle = part.register_forward_hook(lambda *call: total.append(float(call[2].sum())))
    functional.reset_net(net)
    with torch.no_grad():
        net(x)
    handle.remove()
    return sum(total)
