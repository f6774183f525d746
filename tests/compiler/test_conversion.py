"""Conversion: what rates keep of activations, from the file to the program, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli import seenn
from seenn_deploy.compiler import conversion
from seenn_deploy.errors import ModelError
from seenn_deploy.frontends import qcfs
from seenn_deploy.io.state_dict import Tensors, read_state_dict
from tests import checkpoints, checkpoints_qcfs, naive, reference_qcfs
from tests.reference import CIFAR10_MEAN, CIFAR10_STD

# --- rates and activations (the theorem in seenn_deploy/compiler/conversion.py) -----


def qcfs_by_hand(z: float, v: float, levels: int) -> float:
    return v * min(max(np.floor(levels * z / v + 0.5) / levels, 0), 1)


def fires(currents: np.ndarray, v: float) -> tuple[int, float]:
    """Spikes and the last membrane of one IF neuron, by hand."""
    count, membrane = 0, v / 2
    for a in currents:
        membrane += a
        if membrane > v:
            membrane, count = membrane - v, count + 1
    return count, membrane


@settings(max_examples=300)
@given(st.floats(-5, 5), st.floats(0.01, 4), st.integers(1, 32))
def test_a_constant_current_gives_the_activation(z: float, v: float, T: int) -> None:
    """At T = L, for every z but where rounding meets a half."""
    if abs(T * z / v + 0.5 - round(T * z / v + 0.5)) < 1e-9:
        return
    count, _ = fires(np.full(T, z), v)
    assert v * count / T == pytest.approx(qcfs_by_hand(z, v, T), abs=1e-12)


@settings(max_examples=300)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=24), st.sampled_from([0.5, 1.0, 1.75]))
def test_any_current_does_if_the_membrane_ends_between_zero_and_the_threshold(
    currents: list[float], v: float
) -> None:
    T, z = len(currents), float(np.mean(currents))
    count, membrane = fires(np.array(currents), v)
    tie = abs(T * z / v + 0.5 - round(T * z / v + 0.5)) < 1e-9
    if tie or not 0 < membrane <= v:
        return
    assert v * count / T == pytest.approx(qcfs_by_hand(z, v, T), abs=1e-12)


def test_a_tie_is_the_exception() -> None:
    """'>' rounds a half down, the floor rounds it up."""
    count, _ = fires(np.array([0.125] * 4), 1.0)
    assert (count / 4, qcfs_by_hand(0.125, 1.0, 4)) == (0, 0.25)


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_the_first_layer_equals_its_activation_at_t_equal_l(levels: int) -> None:
    """Direct coding: its current is constant, so no other condition is needed."""
    state = checkpoints_qcfs.resnet()
    x = checkpoints.images((6, 3, 8, 8), seed=11)
    norm: dict[str, Any] = {"mean": CIFAR10_MEAN, "std": CIFAR10_STD}
    _, act = reference_qcfs.ann(reference_qcfs.resnet, state, x, levels, **norm)
    snn = reference_qcfs.snn(reference_qcfs.resnet, state, x, levels, **norm)
    up = float(state["conv1.2.up"])
    rate = snn.spikes["conv1.2"].mean(axis=1) * up
    np.testing.assert_allclose(rate, act.seen["conv1.2"].numpy(), atol=1e-12)


def one_layer(seed: int = 0) -> ir.SpikingGraph:
    """An ANN with one activation, so that every layer has a constant current."""
    rng = np.random.default_rng(seed)
    return ir.SpikingGraph(
        [
            ir.Source("input", (2, 6, 6)),
            ir.Population("relu", (4, 6, 6), v_threshold=1.3),
            ir.Readout("out", (5,)),
        ],
        [
            ir.Projection("input", "relu", (ir.Conv2d(rng.normal(0, 0.5, (4, 2, 3, 3)),
                                            padding=(1, 1), bias=rng.normal(0, 0.2, 4)),)),
            ir.Projection("relu", "out", (ir.AvgPool2d((2, 3)), ir.Dense(rng.normal(size=(5, 24)),
                                                               rng.normal(size=5)))),
        ],
        T=8,
    )  # fmt: skip


def test_logits_of_one_layer_equal_the_ann_at_t_equal_l() -> None:
    ann = one_layer()
    x = checkpoints.images((8, 2, 6, 6), seed=2)
    *_, (_, want) = conversion.forward(ann, x, levels=8)
    run = sd.simulate(sd.compile(conversion.spiking(ann)), x)
    np.testing.assert_allclose(run.logits[:, -1] / 8, want, atol=1e-5)


def test_a_deep_network_equals_the_ann_where_every_neuron_ends_in_range(tmp_path: Path) -> None:
    """Layer by layer: a neuron whose sources all have the ANN's rates, and whose membrane ends in

    (0, V] (or that is clipped as the ANN clips), has the ANN's rate; elsewhere some differ.
    """
    T = 4
    torch.save(checkpoints_qcfs.resnet(), tmp_path / "net.pth")
    tensors = Tensors(tmp_path / "net.pth", read_state_dict(tmp_path / "net.pth"))
    ann = qcfs.build_ann(tensors, T, 8)
    x = checkpoints.images((3, 3, 8, 8), seed=4)
    want = dict(conversion.forward(ann, x, levels=T))
    graph = sd.compile(conversion.spiking(ann)).graph
    trace = naive.run(graph, x, T)
    equal, unequal = 0, 0
    for node in graph.layers[:-1]:
        assert isinstance(node, ir.Population)
        v, z = node.v_threshold, trace.currents[node.name].mean(axis=1)
        count, end = trace.outputs[node.name].sum(axis=1), trace.membrane[node.name][:, -1]
        steps = T * z / v + 0.5
        settled = ((end > 0) & (end <= v)) | ((count == 0) & (z <= 0)) | ((count == T) & (z >= v))
        tied = np.abs(steps - np.round(steps)) < 1e-5
        same = count == np.clip(np.floor(steps), 0, T)
        assert np.all(same[settled & ~tied]), node.name
        equal, unequal = equal + int(same.sum()), unequal + int((~same).sum())
    assert 0 < unequal < equal
    assert np.abs(trace.logits[:, -1] / T - want["fc"]).max() > 0


@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_the_ann_is_the_one_that_was_trained(tmp_path: Path, name: str) -> None:
    """conversion.forward against the torch reference, every activation."""
    state = getattr(checkpoints_qcfs, name)()
    size = 8 if name == "resnet" else 16
    x = checkpoints.images((3, 3, size, size), seed=6)
    logits, act = reference_qcfs.ann(
        getattr(reference_qcfs, name), state, x, 8, mean=CIFAR10_MEAN, std=CIFAR10_STD
    )
    torch.save(state, tmp_path / "net.pth")
    path = tmp_path / "net.pth"
    ann = qcfs.build_ann(Tensors(path, read_state_dict(path)), 8, size)
    found = dict(conversion.forward(ann, x, levels=8))
    for layer, want in act.seen.items():
        np.testing.assert_allclose(
            found[layer], want.numpy().reshape(found[layer].shape), atol=1e-9
        )
    *_, last = found.values()
    np.testing.assert_allclose(last, logits, atol=1e-9)


# --- scales in weights ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "maps",
    [
        (ir.Identity(),),
        (
            ir.Conv2d(np.full((2, 2, 1, 1), 0.5), bias=np.ones(2)),
            ir.Affine(np.full(2, 3.0), np.ones(2)),
        ),
        (ir.Affine(np.full(2, 3.0), np.ones(2)), ir.Conv2d(np.full((2, 2, 1, 1), 0.5))),
        (ir.Affine(np.full(2, 3.0), np.ones(2)),),
        (ir.AvgPool2d((1, 1)), ir.Conv2d(np.full((2, 2, 1, 1), 0.5))),
        (ir.AvgPool2d((1, 1)),),
    ],
)
def test_a_layers_threshold_goes_into_the_weights_behind_it(maps: Any) -> None:
    shape = (2, 2, 2)
    nodes = [
        ir.Source("input", shape),
        ir.Population("a", shape, v_threshold=2.5),
        ir.Population("b", shape, v_threshold=1.0),
        ir.Readout("out", (1,)),
    ]
    edges = [
        ir.Projection("input", "a", (ir.Identity(),)),
        ir.Projection("a", "b", maps),
        ir.Projection("b", "out", (ir.Dense(np.ones((1, 8))),)),
    ]
    graph = conversion.spiking(ir.SpikingGraph(nodes, edges, 1))
    neuron = graph.node("a")
    assert isinstance(neuron, ir.Population) and (neuron.tau, neuron.v_init) == (1, 1.25)
    assert (neuron.reset, neuron.comparison) == ("soft", ">")
    (edge,) = graph.into("b")
    s = np.random.default_rng(0).integers(0, 2, shape)
    np.testing.assert_allclose(naive.chain(edge.maps, s), naive.chain(maps, 2.5 * s))


@pytest.mark.parametrize("v", [0.0, -1.0, np.inf, np.nan])
def test_a_threshold_that_is_none(v: float) -> None:
    graph = ir.SpikingGraph(
        [
            ir.Source("input", (1, 1, 1)),
            ir.Population("a", (1, 1, 1), v_threshold=v),
            ir.Readout("o", (1,)),
        ],
        [
            ir.Projection("input", "a", (ir.Identity(),)),
            ir.Projection("a", "o", (ir.Dense(np.ones((1, 1))),)),
        ],
        1,
    )
    with pytest.raises(ModelError, match=r"a: threshold .*; it must be a positive number"):
        conversion.spiking(graph)


# --- the command ----------------------------------------------------------------------------------


def test_convert_writes_a_program(tmp_path: Path) -> None:
    torch.save(checkpoints_qcfs.resnet(), tmp_path / "net.pth")
    args = ["convert", str(tmp_path / "net.pth"), "-T", "8", "--input-size", "8", "--alpha", "0.7"]
    done = CliRunner().invoke(seenn, [*args, "-o", str(tmp_path / "build")])
    assert done.exit_code == 0, done.output
    assert "converted  9 activations, thresholds 1." in done.output
    program = sd.Program.load(tmp_path / "build")
    assert (program.T, program.exit_rule) == (8, sd.exits.Confidence(0.7))
    direct = sd.convert(tmp_path / "net.pth", sd.exits.Confidence(0.7), T=8, input_size=8)
    assert direct.fingerprint == program.fingerprint
    manifest = json.loads((tmp_path / "build" / "program.json").read_text())
    assert len(manifest["provenance"]["conversion"]["thresholds"]) == 9
    images = checkpoints.images((2, 3, 8, 8))
    assert sd.simulate(program, images).logits.shape == (2, 8, 10)


def test_compile_takes_the_same_file(tmp_path: Path) -> None:
    torch.save(checkpoints_qcfs.resnet(), tmp_path / "net.pth")
    args = ["compile", str(tmp_path / "net.pth"), "--input-size", "8", "--no-normalize"]
    done = CliRunner().invoke(seenn, [*args, "-o", str(tmp_path / "build")])
    assert done.exit_code == 0, done.output
    program = sd.Program.load(tmp_path / "build")
    assert program.T == 16
    assert program.input_range == (-np.inf, np.inf)


def test_a_spiking_network_has_nothing_to_convert(tmp_path: Path) -> None:
    torch.save(checkpoints.resnet(blocks=(1, 1, 1), channels=(3, 4, 5), size=8), tmp_path / "n.pth")
    with pytest.raises(ModelError, match=r"spikes already, .* use seenn compile"):
        sd.convert(tmp_path / "n.pth", input_size=8)


def test_options_of_another_kind_of_file(tmp_path: Path) -> None:
    torch.save(checkpoints_qcfs.resnet(), tmp_path / "net.pth")
    with pytest.raises(ModelError, match="option 'percentile' means nothing for this network"):
        sd.convert(tmp_path / "net.pth", percentile=99)
