"""NIR files as snnTorch, SpikingJelly and Norse write them give what their networks give."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.simulator.engine import simulate

T, SIZE, HIDDEN, CLASSES = 10, (2, 6, 6), 12, 4


def recorded(module: Any, shape: tuple[int, ...], stateful: bool) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (1, T, ..), and what a module says of them, summed over time."""
    frames = (torch.rand((T, 1, *shape)) < 0.4).float()
    state, said = None, []
    with torch.no_grad():
        for frame in frames:
            out = module(frame, state) if stateful else module(frame)
            out, state = out if stateful else (out, None)
            said.append(out.numpy().ravel())
    x = frames.numpy().swapaxes(0, 1)
    return x.reshape(1, T, *shape, *[1] * (3 - len(shape))), np.cumsum(said, axis=0)


def compare(graph: Any, x: np.ndarray, logits: np.ndarray, folder: Path, **how: Any) -> None:
    """Write, import, simulate."""
    path = folder / "net.nir"
    nir.write(path, graph, compression=None)  # Norse's numbers have no shape, nor may be zipped
    run = simulate(compile(import_model(path, T=T, **how)), x, threads=1)
    assert np.any(logits)
    np.testing.assert_allclose(run.logits[0], logits, atol=1e-5)


RESET = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}


def snntorch_neurons(kind: str, shape: tuple[int, ...]) -> Any:
    """snnTorch's exporter wants the parameters of all neurons, of recurrent layers one."""
    snn = import_module("snntorch")
    if kind == "RLeaky":
        return snn.RLeaky(beta=0.8, threshold=0.25, linear_features=shape[0], **RESET)
    leaks = {"Leaky": {"beta": 0.8}, "Synaptic": {"alpha": 0.5, "beta": 0.75}}[kind]
    given = {name: torch.full(shape, value) for name, value in leaks.items()}
    return getattr(snn, kind)(threshold=torch.full(shape, 0.25), **given, **RESET)


def check_snntorch(module: Any, shape: tuple[int, ...], folder: Path) -> None:
    export = import_module("snntorch.export_nir").export_to_nir
    images = len(shape) > 1
    graph = export(module, torch.zeros((1,) * images + shape), ignore_dims=[0] * images)
    for layer in module.modules():
        if hasattr(layer, "reset_mem"):
            layer.reset_mem()
    compare(graph, *recorded(module, shape, stateful=False), folder)


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky"])
def test_snntorch(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(1)
    layers = nn.Linear(5, HIDDEN), snntorch_neurons(kind, (HIDDEN,)), nn.Linear(HIDDEN, CLASSES)
    check_snntorch(nn.Sequential(*layers, snntorch_neurons("Leaky", (CLASSES,))), (5,), tmp_path)


def test_snntorch_convolution(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), snntorch_neurons("Leaky", (3, 6, 6)), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(27, CLASSES), snntorch_neurons("Leaky", (CLASSES,)),
    )  # fmt: skip
    check_snntorch(module, SIZE, tmp_path)


@pytest.mark.parametrize("kind", ["IFNode", "LIFNode", "ParametricLIFNode"])
@pytest.mark.parametrize("decay", [False, True])
def test_spikingjelly(tmp_path: Path, kind: str, decay: bool) -> None:
    """With decay_input, its default, r is 1 and no dt follows from the file."""
    exchange = import_module("spikingjelly.activation_based.nir_exchange")
    from spikingjelly.activation_based import functional, layer, neuron

    torch.manual_seed(1)
    given = {} if kind == "IFNode" else {"decay_input": decay}

    def neurons() -> Any:
        return getattr(neuron, kind)(v_threshold=0.1 if decay else 0.25, **given)

    module = nn.Sequential(
        layer.Conv2d(2, 3, 3, padding=1), neurons(), layer.AvgPool2d(2, 2), layer.Flatten(),
        layer.Linear(27, CLASSES), neurons(),
    )  # fmt: skip
    graph = exchange.export_to_nir(module, torch.zeros(1, *SIZE))
    functional.reset_net(module)
    compare(graph, *recorded(module, SIZE, stateful=False), tmp_path,
            **({"dt": 1e-4} if decay else {}))  # fmt: skip


@pytest.mark.parametrize("kind", ["LIFBoxCell", "IAFCell"])
def test_norse(tmp_path: Path, kind: str) -> None:
    """Norse 1.1.0 writes tau times its timestep of 0.001."""
    norse = import_module("norse.torch")
    torch.manual_seed(1)

    def neurons() -> Any:
        parameters = getattr(norse, kind.replace("Cell", "Parameters"))
        rate = {"tau_mem_inv": torch.tensor(400.0)} if kind == "LIFBoxCell" else {}
        return getattr(norse, kind)(parameters(v_th=torch.tensor(0.1), **rate))

    module = norse.SequentialState(
        nn.Linear(5, HIDDEN), neurons(), nn.Linear(HIDDEN, CLASSES), neurons()
    )
    graph = norse.to_nir(module, torch.zeros(5))
    dt = 1e-6 if kind == "LIFBoxCell" else 1.0
    compare(graph, *recorded(module, (5,), stateful=True), tmp_path, dt=dt)
