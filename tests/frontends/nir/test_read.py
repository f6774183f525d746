"""NIR files made here with the nir package; `naive_nir` says what they compute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.errors import ModelError, SeennError
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.ir.graph import Population
from seenn_deploy.ir.maps import AvgPool2d, Identity, Sparse
from seenn_deploy.simulator.engine import simulate
from tests.frontends.nir import naive_nir

SHARED = Path(__file__).parents[4] / "shared"
SINABS = SHARED / "models" / "nir" / "cnn_sinabs.nir"
NMNIST = SHARED / "data" / "nmnist_small" / "test.npz"
STEPS = 12


class Maker:
    """A NIR graph, node by node; weights are multiples of 1/64."""

    def __init__(self, shape: Any = (2, 6, 6), seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(shape)})}
        self.edges: list[tuple[str, str]] = []
        self.shape = tuple(shape)

    def add(self, name: str, node: Any, *before: str) -> str:
        self.nodes[name] = node
        self.edges += [(b, name) for b in before]
        return name

    def weight(self, *shape: int) -> np.ndarray:
        return (self.rng.integers(-32, 48, shape) / 64).astype(np.float32)

    def conv(self, name: str, before: str, c_in: int, c_out: int, k: int = 3, **more: Any) -> str:
        given = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        given |= {"bias": np.zeros(c_out, np.float32)} | more
        weight = self.weight(c_out, c_in // given["groups"], k, k)
        return self.add(name, nir.Conv2d(input_shape=(6, 6), weight=weight, **given), before)

    def linear(self, name: str, before: str, n: int, m: int, bias: bool = False) -> str:
        weight = self.weight(m, n)
        node = nir.Affine(weight, self.weight(m)) if bias else nir.Linear(weight)
        return self.add(name, node, before)

    def finish(self, before: str, size: int) -> Any:
        self.add("output", nir.Output({"output": np.array([size])}), before)
        return nir.NIRGraph(self.nodes, self.edges, type_check=False)

    def frames(self, steps: int = STEPS, count: int = 2) -> np.ndarray:
        return (self.rng.random((count, steps, *self.shape)) < 0.4).astype(np.float32)


def lif(shape: Any, tau: float = 2e-4, r: float = 2.0, **more: Any) -> Any:
    given = {"v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | more
    return nir.LIF(tau=np.full(shape, tau), r=np.full(shape, r),
                   **{k: np.full(shape, 1.0) * v for k, v in given.items()})  # fmt: skip


def if_(shape: Any, r: float = 1.0, **more: Any) -> Any:
    given = {"v_threshold": 1.0, "v_reset": 0.0} | more
    return nir.IF(r=np.full(shape, r), **{k: np.full(shape, 1.0) * v for k, v in given.items()})


def cuba(shape: Any, **more: Any) -> Any:
    given = {"tau_syn": 4e-4, "tau_mem": 2e-4, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0}
    return nir.CubaLIF(**{k: np.full(shape, v) for k, v in (given | {"w_in": 4.0} | more).items()})


def write(graph: Any, folder: Path) -> Path:
    nir.write(folder / "net.nir", graph)
    return folder / "net.nir"


def check(graph: Any, made: Maker, folder: Path, dt: float, summed: bool = True, **how: Any) -> Any:
    """Import, simulate and compare with the naive run."""
    x = made.frames()
    shape = x.shape[2:] if x.ndim > 3 else (*x.shape[2:], *[1] * (5 - x.ndim))
    if x.ndim == 4:
        shape = (x.shape[2], 1, x.shape[3])
    imported = import_model(write(graph, folder), T=STEPS, dt=dt, **how)
    run = simulate(compile(imported), x.reshape(*x.shape[:2], *shape), threads=1)
    exact, soft = how.get("integration") == "exact", how.get("reset") == "soft"
    flows = np.stack([naive_nir.run(graph, sample, dt, exact, soft) for sample in x])
    expected = np.cumsum(flows, axis=1) if summed else flows
    assert np.any(expected)
    np.testing.assert_allclose(run.logits, expected, atol=1e-4)
    return imported


# --- what nodes mean -----------------------------------------------------------------------------


def test_seenns_neuron_is_a_lif_with_twice_the_timestep(tmp_path: Path) -> None:
    made = Maker((5,))
    made.linear("fc", "input", 5, 8)
    made.add("lif", lif(8), "fc")
    made.linear("out", "lif", 8, 3, bias=True)
    graph = check(made.finish("out", 3), made, tmp_path, 1e-4)
    population = graph.node("lif")
    assert (population.tau, population.v_threshold, population.reset) == (0.5, 1.0, "hard")
    assert np.array_equal(graph.into("lif")[0].synapses.weight, made.nodes["fc"].weight)


@pytest.mark.parametrize(("integration", "fewest", "most"), [("euler", 0, 0), ("exact", 6e3, 9e3)])
def test_of_80000_updates_of_seenns_neuron(
    tmp_path: Path, integration: str, fewest: float, most: float
) -> None:
    """SEENN's own update, mem = 0.5 mem + x, beside the file's: Euler alone gives its spikes."""
    made = Maker((1000,), seed=9)
    made.add("lif", lif(1000), "input")
    path = write(made.finish("lif", 1000), tmp_path)
    x = made.rng.normal(0.5, 1, (1, 80, 1000)).astype(np.float32)
    graph = import_model(path, T=80, dt=1e-4, integration=integration)
    logits = simulate(compile(graph), x[..., None, None], threads=1).logits[0]
    mem, differ = np.zeros(1000, np.float32), 0
    for frame, spikes in zip(x[0], np.diff(logits, axis=0, prepend=0), strict=True):
        mem = np.float32(0.5) * mem + frame
        differ += np.count_nonzero(spikes != (mem > 1))
        mem[mem > 1] = 0
    assert fewest <= differ <= most, differ


@pytest.mark.parametrize("integration", ["euler", "exact"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("kind", ["lif", "if", "cuba"])
def test_neurons(tmp_path: Path, integration: str, reset: str, kind: str) -> None:
    made = Maker((5,), seed=3)
    made.linear("fc", "input", 5, 8, bias=True)
    uneven = np.array([1, 2, 4, 2, 1, 1, 1, 2])
    made.add("n", {
        "lif": lif(8, 3e-4, 2.5, v_leak=0.1 * uneven, v_threshold=0.3 * uneven),
        "if": if_(8, 5e3, v_threshold=0.5 * uneven),
        "cuba": cuba(8, r=1.7, v_threshold=0.4),
    }[kind], "fc")  # fmt: skip
    made.linear("out", "n", 8, 3)
    check(made.finish("out", 3), made, tmp_path, 1e-4, integration=integration, reset=reset)


def test_reset_to_another_potential(tmp_path: Path) -> None:
    made = Maker((5,), seed=1)
    made.linear("fc", "input", 5, 8)
    made.add("n", lif(8, v_reset=-0.25, v_leak=-0.125, v_threshold=0.5), "fc")
    check(made.finish("n", 8), made, tmp_path, 1e-4)


def test_thresholds_and_resets_that_differ_alike(tmp_path: Path) -> None:
    made = Maker((5,), seed=1)
    made.linear("fc", "input", 5, 8)
    uneven = np.array([1, 2, 4, 2, 1, 2, 1, 2]) / 4  # inputs of most neurons stay as they are
    made.add("n", lif(8, v_reset=-uneven, v_leak=-uneven / 2, v_threshold=uneven), "fc")
    graph = check(made.finish("n", 8), made, tmp_path, 1e-4)
    assert (graph.node("n").v_threshold, graph.node("n").v_init) == (1.0, 0.5)


@pytest.mark.parametrize("kind", ["lif", "cuba", "li"])
def test_constants_of_each_neuron_s_own(tmp_path: Path, kind: str) -> None:
    """Time constants, a resting potential, and thresholds of which some are negative."""
    made, tau = Maker((5,), seed=1), np.array([1, 2, 3, 4, 2, 8, 5, 1]) * 1e-4
    made.linear("fc", "input", 5, 8)
    heights = np.array([1, 0.5, -0.25, 1, 0.25, 2, 1, -0.125])
    started = {"v_threshold": heights, "v_reset": np.arange(8) / -16}
    made.add("n", {
        "lif": lif(8, tau, v_leak=np.arange(8) / 16, **started),
        "cuba": cuba(8, tau_syn=tau[::-1], tau_mem=tau, v_threshold=heights),
        "li": nir.LI(tau, np.full(8, 2.0), np.arange(8) / 16),
    }[kind], "fc")  # fmt: skip
    graph = check(made.finish("n", 8), made, tmp_path, 1e-4, summed=kind != "li")
    node = graph.node("output" if kind == "li" else "n")
    assert (node.tau.shape == (8,) and kind == "li") or node.v_threshold.min() < 0


def test_a_time_constant_of_one_timestep_in_float32(tmp_path: Path) -> None:
    tau = np.full(8, 1e-4, np.float32)
    assert float(tau[0]) < 1e-4
    made = Maker((5,), seed=1)
    made.linear("fc", "input", 5, 8)
    made.add("n", nir.LIF(tau, np.ones(8), np.zeros(8), np.full(8, 0.5)), "fc")
    assert check(made.finish("n", 8), made, tmp_path, 1e-4).node("n").tau == 0


def test_an_image_whose_neurons_differ(tmp_path: Path) -> None:
    """A gain and a rest of its own for every neuron; the first one's gain is 1."""
    made = Maker(seed=8)
    made.conv("c", "input", 2, 3)
    number = np.arange(108).reshape(3, 6, 6)
    made.add("n", lif((3, 6, 6), r=2.0 + number % 3, v_leak=(number % 5 - 1) / 4), "c")
    made.add("flat", nir.Flatten({"input": np.array([3, 6, 6])}, 0, -1), "n")
    made.linear("out", "flat", 108, 3)
    check(made.finish("out", 3), made, tmp_path, 1e-4)


def test_convolutions_pools_and_scales(tmp_path: Path) -> None:
    made = Maker()
    made.conv("c1", "input", 2, 4, bias=np.full(4, 0.125, np.float32))
    made.add("n1", lif((4, 6, 6)), "c1")
    made.add("pool", nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), "n1")
    made.add("s", nir.Scale(np.full((4, 3, 3), 0.5) * np.arange(1, 5)[:, None, None]), "pool")
    made.add("c2", nir.Conv2d((3, 3), made.weight(4, 2, 3, 3), 1, 1, 1, 2, np.zeros(4)), "s")
    made.add("n2", lif((4, 3, 3)), "c2")
    made.add("avg", nir.AvgPool2d(np.array([2, 2]), np.array([1, 1]), np.array([1, 1])), "n2")
    made.add("flat", nir.Flatten({"input": np.array([4, 4, 4])}, 0, -1), "avg")
    made.linear("out", "flat", 64, 3)
    check(made.finish("out", 3), made, tmp_path, 1e-4)


def test_windows_that_are_not_square(tmp_path: Path) -> None:
    """Two pools in a row, behind neurons and behind synapses."""
    none = np.array([0, 0])
    made = Maker()
    made.conv("c", "input", 2, 3)
    made.add("n", lif((3, 6, 6)), "c")
    made.add("sum", nir.SumPool2d(np.array([2, 3]), np.array([2, 3]), none), "n")
    made.add("mean", nir.AvgPool2d(np.array([3, 1]), np.array([3, 1]), none), "sum")
    made.add("flat", nir.Flatten({"input": np.array([3, 1, 2])}, 0, -1), "mean")
    made.linear("out", "flat", 6, 4)
    graph = check(made.finish("out", 4), made, tmp_path, 1e-4)
    pool = graph.into("output")[0].maps[0]
    assert isinstance(pool, AvgPool2d) and pool.kernel == (6, 3)


def test_a_padded_pixel_is_no_scale(tmp_path: Path) -> None:
    made = Maker()
    made.conv("c", "input", 2, 3)
    made.add("n", lif((3, 6, 6)), "c")
    weight = np.diag([0.5, 1.0, 2.0]).astype(np.float32)[:, :, None, None]
    padded = nir.Conv2d((6, 6), weight, 1, 1, 1, 1, np.zeros(3, np.float32))
    made.add("pixel", padded, "n")
    made.add("flat", nir.Flatten({"input": np.array([3, 8, 8])}, 0, -1), "pixel")
    made.linear("out", "flat", 192, 4)
    check(made.finish("out", 4), made, tmp_path, 1e-4)


def test_layers_in_a_row(tmp_path: Path) -> None:
    """A pool behind a convolution, a scale a neuron, two matrices and what scales between."""
    made = Maker(seed=2)
    made.conv("c1", "input", 2, 3, bias=made.weight(3))
    made.add("pool", nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), "c1")
    made.add("s", nir.Scale(made.weight(3, 3, 3) + 1), "pool")
    made.add("n1", lif((3, 3, 3)), "s")
    made.add("s2", nir.Scale(made.weight(3, 3, 3) + 1), "n1")
    made.add("flat", nir.Flatten({"input": np.array([3, 3, 3])}, 0, -1), "s2")
    made.linear("a", "flat", 27, 9, bias=True)
    made.add("s3", nir.Scale(made.weight(9) + 1), "a")
    made.linear("b", "s3", 9, 4, bias=True)
    check(made.finish("b", 4), made, tmp_path, 1e-4)


def test_a_convolution_behind_a_scale_a_neuron(tmp_path: Path) -> None:
    """No convolution has such weights: it becomes a list of synapses."""
    made = Maker(seed=3)
    made.conv("c", "input", 2, 4)
    made.add("n1", lif((4, 6, 6)), "c")
    made.add("s", nir.Scale(made.weight(4, 6, 6) + 1), "n1")
    weight, bias = made.weight(4, 2, 3, 2), made.weight(4)
    made.add("far", nir.Conv2d((6, 6), weight, (1, 2), (2, 1), (2, 3), 2, bias), "s")
    made.add("n2", lif((4, 6, 3), r=np.arange(1, 5)[:, None, None]), "far")
    made.add("flat", nir.Flatten({"input": np.array([4, 6, 3])}, 0, -1), "n2")
    made.linear("out", "flat", 72, 4)
    graph = check(made.finish("out", 4), made, tmp_path, 1e-4)
    assert isinstance(graph.into("n2")[0].synapses, Sparse)


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("kernel", [(2, 2), (4, 3), (1, 2)])
def test_an_even_kernel_of_same_padding_is_torch_s(tmp_path: Path, kernel: Any) -> None:
    made = Maker(seed=6)
    weight = made.weight(3, 2, *kernel)
    made.add("c", nir.Conv2d((6, 6), weight, 1, "same", 1, 1, np.zeros(3)), "input")
    made.add("n", if_((3, 6, 6), v_threshold=1e-3), "c")
    made.add("flat", nir.Flatten({"input": np.array([3, 6, 6])}, 0, -1), "n")
    path = write(made.finish("flat", 108), tmp_path)
    x = (made.rng.random((2, 1, 2, 6, 6)) < 0.4).astype(np.float32)
    run = simulate(compile(import_model(path, T=1, dt=1.0)), x)
    currents = torch.nn.functional.conv2d(
        torch.as_tensor(x[:, 0]), torch.as_tensor(weight), padding="same"
    )
    np.testing.assert_array_equal(run.logits[:, 0], currents.flatten(1) > 1e-3)


@pytest.mark.parametrize("shape", [(2,), (2, 1, 1)])
def test_a_scale_by_channel(tmp_path: Path, shape: Any) -> None:
    made, factors = Maker(), np.array([2.0, 0.5])
    made.add("s", nir.Scale(factors.reshape(shape)), "input")
    made.conv("c", "s", 2, 4)
    made.add("n", lif((4, 6, 6)), "c")
    made.add("flat", nir.Flatten({"input": np.array([4, 6, 6])}, 0, -1), "n")
    made.linear("out", "flat", 144, 3)
    graph = made.finish("out", 3)
    found = import_model(write(graph, tmp_path), T=STEPS, dt=1e-4)
    graph.nodes["s"] = nir.Scale(np.broadcast_to(factors[:, None, None], (2, 6, 6)).copy())
    want = import_model(write(graph, tmp_path), T=STEPS, dt=1e-4)
    assert compile(found).fingerprint == compile(want).fingerprint


def test_what_a_scale_and_a_batch_axis_are_told(tmp_path: Path) -> None:
    made = Maker((6, 6, 6))
    made.add("s", nir.Scale(np.ones(6)), "input")
    made.add("n", lif((6, 6, 6)), "s")
    with pytest.raises(ModelError, match=r"by channel or by column\? give it as \(6, 1, 1\)"):
        import_model(write(made.finish("n", 216), tmp_path))
    made = Maker((1, 2, 6, 6))
    made.conv("c", "input", 2, 4)
    made.add("n", lif((4, 6, 6)), "c")
    with pytest.raises(ModelError, match=r"\(C, H, W\) is needed, the batch left out"):
        import_model(write(made.finish("n", 144), tmp_path))
    made = Maker((1, 5))
    made.linear("fc", "input", 5, 8)
    with pytest.raises(ModelError, match="leave the batch out of the Input"):
        import_model(write(made.finish("fc", 8), tmp_path))


def test_same_padding_of_a_stride_is_refused(tmp_path: Path) -> None:
    made = Maker()
    conv = nir.Conv2d((6, 6), made.weight(3, 2, 3, 3), 2, "same", 1, 1, np.zeros(3))
    made.add("c", conv, "input")
    made.add("n", lif((3, 3, 3)), "c")
    with pytest.raises(ModelError, match=r"Conv2d node 'c'.*padding 'same' is asymmetric"):
        import_model(write(made.finish("n", 27), tmp_path))


def test_one_dimension(tmp_path: Path) -> None:
    made = Maker((3, 16))
    made.add("c", nir.Conv1d(16, made.weight(4, 3, 5), 2, 2, 1, 1, np.zeros(4)), "input")
    made.add("n", if_((4, 8)), "c")
    made.add("flat", nir.Flatten({"input": np.array([4, 8])}, 0, -1), "n")
    made.linear("out", "flat", 32, 3)
    check(made.finish("out", 3), made, tmp_path, 1.0)


def test_recurrence_delay_and_threshold(tmp_path: Path) -> None:
    made = Maker((5,), seed=4)
    made.linear("fc", "input", 5, 8)
    made.add("n", cuba(8, v_threshold=0.5), "fc", "rec")
    made.linear("rec", "n", 8, 8, bias=True)
    made.add("late", nir.Delay(np.full(8, 2e-4)), "n")
    made.add("step", nir.Threshold(np.full(8, 0.5)), "late")
    made.linear("out", "step", 8, 3)
    graph = check(made.finish("out", 3), made, tmp_path, 1e-4)
    assert [e.lag for e in graph.into("n")] == [0, 1] and graph.into("step")[0].lag == 2


def test_a_delay_for_each_neuron(tmp_path: Path) -> None:
    """Behind a neuron and behind synapses; only the synapses that there are."""
    made = Maker((5,), seed=4)
    made.linear("fc", "input", 5, 8)
    made.add("early", nir.Delay(np.array([0, 1, 2, 0, 0, 1, 2, 2]) * 1e-4), "fc")
    made.add("n", lif(8, v_threshold=0.5), "early")
    made.add("late", nir.Delay(np.array([3, 1, 0, 1, 0, 1, 0, 1]) * 1e-4), "n")
    made.linear("out", "late", 8, 3)
    graph = check(made.finish("out", 3), made, tmp_path, 1e-4)
    into = {e.lag: len(e.synapses.weight) for e in graph.into("n")}
    assert into == {lag: np.count_nonzero(made.nodes["fc"].weight[rows])
                    for lag, rows in ((0, [0, 3, 4]), (1, [1, 5]), (2, [2, 6, 7]))}  # fmt: skip


def test_delays_of_0_and_more_in_a_loop_are_refused(tmp_path: Path) -> None:
    made = Maker((5,))
    made.linear("fc", "input", 5, 8)
    made.add("n", lif(8), "fc", "late")
    made.add("late", nir.Delay(np.arange(8) * 1e-4), "n")
    with pytest.raises(ModelError, match=r"Delay node 'late'.*loop"):
        import_model(write(made.finish("n", 8), tmp_path))


def test_a_neuron_that_feeds_itself(tmp_path: Path) -> None:
    made = Maker((5,), seed=4)
    made.linear("fc", "input", 5, 8)
    made.add("n", lif(8), "fc", "n")
    assert [e.lag for e in check(made.finish("n", 8), made, tmp_path, 1e-4).into("n")] == [0, 1]


def test_what_is_delayed_beyond_the_end_never_arrives(tmp_path: Path) -> None:
    made = Maker((5,))
    made.linear("fc", "input", 5, 8)
    made.linear("far", "input", 5, 8)
    made.add("late", nir.Delay(np.full(8, 1.0)), "far")
    made.add("n", lif(8), "fc", "late")
    graph = check(made.finish("n", 8), made, tmp_path, 1e-4)
    assert sorted(e.lag for e in graph.into("n")) == [0, STEPS]
    with pytest.raises(SeennError, match=r"'late': 10000 timesteps became 4"):
        import_model(tmp_path / "net.nir", T=4, strict=True)


def test_the_readout_may_leak(tmp_path: Path) -> None:
    made = Maker((5,), seed=5)
    made.linear("fc", "input", 5, 8)
    made.add("n", lif(8), "fc")
    made.linear("out", "n", 8, 3, bias=True)
    made.add("li", nir.LI(np.full(3, 4e-4), np.full(3, 1.5), np.array([0.0, 0.5, 1])), "out")
    graph = check(made.finish("li", 3), made, tmp_path, 1e-4, summed=False)
    assert graph.readout.tau == 0.75


def test_the_readout_may_have_a_synaptic_current(tmp_path: Path) -> None:
    made, full = Maker((5,), seed=5), np.ones(3)
    made.linear("fc", "input", 5, 8)
    made.add("n", lif(8), "fc")
    made.linear("out", "n", 8, 3, bias=True)
    readout = nir.CubaLI(full * 4e-4, full * 2e-4, full * 1.5, full * 0, full * 3)
    made.add("li", readout, "out")
    graph = check(made.finish("li", 3), made, tmp_path, 1e-4, summed=False)
    assert (graph.readout.tau, graph.readout.tau_syn) == (0.5, 0.75)


@pytest.mark.parametrize("kind", ["i", "li", "cubali"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_threshold_of_an_integrator(tmp_path: Path, kind: str, reset: str) -> None:
    """It spikes as long as the potential is above it, and resets nothing."""
    made, full = Maker((5,), seed=5), np.ones(8)
    made.linear("fc", "input", 5, 8)
    made.add("v", {
        "i": nir.I(full * 5e3),
        "li": nir.LI(full * 4e-4, full * 1.5, full * 0.1),
        "cubali": nir.CubaLI(full * 4e-4, full * 2e-4, full * 2, full * 0, full * 2),
    }[kind], "fc")  # fmt: skip
    made.add("t", nir.Threshold(np.arange(1, 9) / 16), "v")
    made.linear("out", "t", 8, 3)
    graph = check(made.finish("out", 3), made, tmp_path, 1e-4, reset=reset)
    assert graph.node("t").reset_by == 0


def test_spikes_as_the_output_are_summed(tmp_path: Path) -> None:
    made = Maker((5,))
    made.linear("fc", "input", 5, 8)
    made.add("n", if_(8), "fc")
    graph = check(made.finish("n", 8), made, tmp_path, 1.0)
    assert isinstance(graph.into("output")[0].maps[0], Identity)


def test_an_output_with_sizes_of_1(tmp_path: Path) -> None:
    """As in files of Rockpool."""
    graph = single(if_(8))
    graph.nodes["output"] = nir.Output({"output": np.array([1, 1, 8])})
    assert import_model(write(graph, tmp_path), T=4).readout.shape == (8,)


def test_sub_graphs_are_inlined(tmp_path: Path) -> None:
    inner = Maker((8,))
    inner.add("lif", lif(8), "input", "rec")
    inner.linear("rec", "lif", 8, 8)
    made = Maker((5,), seed=6)
    made.linear("fc", "input", 5, 8)
    made.add("net", inner.finish("lif", 8), "fc")
    made.linear("out", "net", 8, 3)
    graph = import_model(write(made.finish("out", 3), tmp_path), T=4)
    assert [n.name for n in graph.order if isinstance(n, Population)] == ["net.lif"]
    assert sorted(e.lag for e in graph.into("net.lif")) == [0, 1]


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["lif", "if", "cuba"]), st.booleans(), st.booleans())
def test_random_networks(
    tmp_path_factory: Any, seed: int, kind: str, loop: bool, skip: bool
) -> None:
    made = Maker(seed=seed)
    neuron = {"lif": lif, "if": lambda s: if_(s, 1e4), "cuba": cuba}[kind]
    made.conv("c1", "input", 2, 3, bias=made.weight(3))
    made.add("n1", neuron((3, 6, 6)), "c1")
    made.conv("c2", "n1", 3, 3)
    made.add("n2", neuron((3, 6, 6)), "c2", *["n1"] * skip)
    if loop:
        made.conv("back", "n2", 3, 3)
        made.edges.append(("back", "n1"))
    made.add("flat", nir.Flatten({"input": np.array([3, 6, 6])}, 0, -1), "n2")
    made.linear("out", "flat", 108, 3)
    check(made.finish("out", 3), made, tmp_path_factory.mktemp("nir"), 1e-4)


# --- the timestep --------------------------------------------------------------------------------


def single(node: Any) -> Any:
    made = Maker((5,))
    made.linear("fc", "input", 5, 8)
    made.add("n", node, "fc")
    return made.finish("n", 8)


@pytest.mark.parametrize(
    ("node", "dt"),
    [(if_(8), 1.0), (if_(8, 1e4), 1e-4), (lif(8), 1e-4), (cuba(8), 1e-4),
     (lif(8, np.float32(1e-3 / 0.3), np.float32(1 / 0.3)), 1e-3)],
)  # fmt: skip
def test_the_timestep_follows_from_the_constants(tmp_path: Path, node: Any, dt: float) -> None:
    graph = import_model(write(single(node), tmp_path), T=4)
    assert graph.provenance["assumed"]["dt"] == pytest.approx(dt)


def test_or_must_be_told(tmp_path: Path) -> None:
    path = write(single(lif(8, 2.5e-3, 1.0)), tmp_path)
    with pytest.raises(ModelError, match=r"LIF node 'n'.*give dt"):
        import_model(path, T=4)
    assert import_model(path, T=4, dt=1e-3).node("n").tau == pytest.approx(0.6)


# --- bad input -----------------------------------------------------------------------------------


def _broken() -> dict[str, tuple[Any, str]]:
    def graph(change: Any) -> Any:
        made = Maker((5,))
        made.linear("fc", "input", 5, 8)
        made.add("n", lif(8), "fc")
        made.linear("out", "n", 8, 3)
        found = made.finish("out", 3)
        change(found)
        return found

    def put(name: str, node: Any) -> Any:
        return lambda g: g.nodes.update({name: node})

    def loop(g: Any) -> None:
        g.nodes |= {"a": nir.Linear(np.eye(8)), "b": nir.Linear(np.eye(8))}
        g.edges += [("fc", "a"), ("a", "b"), ("b", "a"), ("b", "n")]

    cases = {
        "missing edge": (lambda g: g.edges.remove(("fc", "n")), "'fc'.*feeds nothing"),
        "no input": (lambda g: g.edges.remove(("input", "fc")), "'fc'.*no input"),
        "unknown node": (lambda g: g.edges.append(("n", "nowhere")), "no node 'nowhere'"),
        "twice": (lambda g: g.edges.append(("fc", "n")), "'fc' -> 'n': is there 2 times"),
        "cycle": (loop, "'a'.*cycle without delay: a -> b -> a"),
        "shape": (put("fc", nir.Linear(np.ones((8, 4)))), "Linear node 'fc'.*do not take shape"),
        "neurons": (put("n", lif(7)), "LIF node 'n'.*takes shape"),
        "output": (put("output", nir.Output({"output": np.array([4])})), "'output'.*takes shape"),
        "nan": (put("n", lif(8, v_leak=np.nan)), "'n'.*v_leak holds NaN"),
        "weight": (put("fc", nir.Linear(np.full((8, 5), np.nan))), "'fc'.*NaN"),
        "fast": (put("n", lif(8, 5e-5)), "'n'.*shorter than a timestep"),
        "inner readout": (put("n", nir.LI(np.ones(8), np.ones(8), np.zeros(8))), "'n'.*readout"),
        "nothing": (put("n", nir.CubaLI(*[np.ones(8)] * 4)), "'n'.*readout"),
        "delay": (put("fc", nir.Delay(np.full(5, -1.0))), "Delay node 'fc'.*negative"),
        "unit": (put("fc", nir.Delay(np.full(5, 1e9))), "'fc': is 1e.13 timesteps; give dt"),
        "delays": (put("fc", nir.Delay(np.full(4, 1e-4))), "'fc'.*delays shape"),
    }
    return {name: (graph(change), text) for name, (change, text) in cases.items()}


@pytest.mark.parametrize("name", list(_broken()))
def test_broken_graphs_name_the_node(tmp_path: Path, name: str) -> None:
    graph, text = _broken()[name]
    with pytest.raises(ModelError, match=text) as error:
        import_model(write(graph, tmp_path), T=4, dt=1e-4)
    assert "\n" not in str(error.value) and "net.nir" in str(error.value)


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    path = write(_broken()["shape"][0], tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "seenn_deploy", "compile", str(path), "-o", str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2 and run.stderr.count("\n") == 1 and "'fc'" in run.stderr


def _sub_graph(**more: str) -> Any:
    """Of one LIF node; what `more` says has an edge as well."""
    nodes = {"input": nir.Input({"input": np.array([8])}), "lif": lif(8),
             "output": nir.Output({"output": np.array([8])})}  # fmt: skip
    edges = [("input", "lif"), *(("lif", end) for end in more.values())]
    return nir.NIRGraph(nodes, edges, type_check=False)


@pytest.mark.parametrize(
    ("key", "content", "text"),
    [
        ("nodes/n/tau", None, "LIF node 'n': has no tau"),
        ("nodes/n/tau", np.ones(3), "LIF node 'n': .*same shape"),
        ("nodes/n/tau", np.full(8, -1.0), "LIF node 'n': tau = -1; it must be positive"),
        ("nodes/n/beta", 0.5, "LIF node 'n': .*'beta'"),
        ("nodes/n/type", "Izhikevich", "Izhikevich node 'n': this node is not supported"),
        ("nodes/n/type", None, "node 'n': has no type"),
        ("nodes/n", 3, "node 'n': has no type"),
        ("nodes/n/type", np.zeros(2), "node 'n': has no type"),
        ("nodes/output/shape", np.ones((1, 8)), "Output node 'output': .*no list of sizes"),
        ("nodes/fc/weight", "text", "Linear node 'fc': its weight is text, no numbers"),
        ("nodes/fc/weight", ["a", "b"], "Linear node 'fc': its weight is text, no numbers"),
        ("nodes/fc/weight/inside", 1.0, "Linear node 'fc': its weight is a group, no numbers"),
        ("nodes/n/v_threshold", "text", "LIF node 'n': its v_threshold is text, no numbers"),
        ("nodes/input/shape", np.array([5.5]), "Input node 'input': .*no list of sizes"),
        ("nodes/input/shape", None, "Input node 'input': has shape"),
        ("edges", np.arange(6), "its edges are no pairs"),
        ("edges", None, "its edges are no pairs"),
    ],
)
def test_damaged_nodes_are_named(tmp_path: Path, key: str, content: Any, text: str) -> None:
    import h5py

    path = write(single(lif(8)), tmp_path)
    with h5py.File(path, "a") as file:
        nodes = file["node"]
        parent = key.rpartition("/")[0] or key
        for old in {key, parent}:
            if old in nodes and (old == key or isinstance(nodes[old], h5py.Dataset)):
                del nodes[old]  # of a parent: a group in place of numbers
        if content is not None:
            nodes[key] = content
    with pytest.raises(ModelError, match=text) as error:
        import_model(path, T=4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (_sub_graph(), "LIF node 'n.lif': feeds nothing"),
        (_sub_graph(end="output", other="gone"), "there is no node 'n.gone'"),
        (nir.NIRGraph({"lif": lif(8)}, [], type_check=False), "'n': has 0 Input nodes"),
    ],
)
def test_sub_graphs_are_taken_as_they_are(tmp_path: Path, inner: Any, text: str) -> None:
    """nir itself would add an Input and an Output to those that lack them."""
    with pytest.raises(ModelError, match=text):
        import_model(write(single(inner), tmp_path), T=4)


def test_what_older_files_lack(tmp_path: Path) -> None:
    """The size in front of a convolution, v_reset, the shape of the output."""
    import h5py

    made = Maker()
    made.conv("c", "input", 2, 3)
    made.add("n", lif((3, 6, 6)), "c")
    path = write(made.finish("n", 108), tmp_path)
    with h5py.File(path, "a") as file:
        for key in ("c/input_shape", "n/v_reset", "output/shape"):
            del file["node/nodes"][key]
    assert import_model(path, T=4).node("n").shape == (3, 6, 6)
    with h5py.File(path, "a") as file:
        del file["node/nodes/c/groups"]
        file["node/nodes/c/groups"] = "two"
    with pytest.raises(ModelError, match="Conv2d node 'c': its groups is text"):
        import_model(path, T=4)


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    graph = single(_sub_graph(end="output"))
    graph.nodes["n.lif"] = lif(8)
    with pytest.raises(ModelError, match=r"'n\.lif'.*twice"):
        import_model(write(graph, tmp_path), T=4)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "other"])
def test_damaged_files(tmp_path: Path, damage: str) -> None:
    path = write(single(if_(8)), tmp_path)
    content = path.read_bytes()
    if damage == "other":
        import h5py

        with h5py.File(path, "w") as file:
            file["x"] = 1
    else:
        path.write_bytes(
            {"truncated": content[: len(content) // 2], "text": b"no", "empty": b""}[damage]
        )
    with pytest.raises(ModelError, match="not a readable NIR file") as error:
        import_model(path)
    assert "\n" not in str(error.value)


def test_a_delayed_bias_is_refused(tmp_path: Path) -> None:
    made = Maker((5,))
    made.linear("fc", "input", 5, 8, bias=True)
    made.add("late", nir.Delay(np.full(8, 3.0)), "fc")
    made.add("n", if_(8), "late")
    with pytest.raises(ModelError, match=r"Delay node 'late'.*bias"):
        import_model(write(made.finish("n", 8), tmp_path))


@pytest.mark.parametrize(
    ("delay", "lag", "off"), [(2.3, 2, r"0\.3"), (2.7, 3, r"0\.3"), (3.001, 3, r"0\.001")]
)
def test_a_delay_is_rounded_and_said(tmp_path: Path, delay: float, lag: int, off: str) -> None:
    made = Maker((5,))
    made.add("late", nir.Delay(np.full(5, delay)), "input")
    made.linear("fc", "late", 5, 8)
    made.add("n", if_(8), "fc")
    path = write(made.finish("n", 8), tmp_path)
    graph = import_model(path)
    assert graph.into("n")[0].lag == lag
    with pytest.raises(SeennError, match=rf"'late'.*{off} of a timestep"):
        import_model(path, strict=True)


def test_a_delay_that_float64_divides_to_a_little_less(tmp_path: Path) -> None:
    assert 3e-4 / 1e-4 < 3
    made = Maker((5,))
    made.add("late", nir.Delay(np.full(5, 3e-4)), "input")
    made.linear("fc", "late", 5, 8)
    made.add("n", if_(8, 1e4), "fc")
    graph = import_model(write(made.finish("n", 8), tmp_path), dt=1e-4, strict=True)
    assert graph.into("n")[0].lag == 3


# --- the published network -----------------------------------------------------------------------


@pytest.mark.skipif(not SINABS.is_file(), reason="the shared network is not there")
def test_the_network_of_the_nir_paper() -> None:
    """100 of 100 recordings right with reset to zero, 97 with subtraction.

    98 where time starts at 0, not at a recording's first event as here.
    """
    labels = np.load(NMNIST)["labels"]
    for reset, right in (("hard", 100), ("soft", 97)):
        graph = import_model(SINABS, T=300, step_us=1000.0, counts_events=True, reset=reset)
        run = simulate(compile(graph), NMNIST, threads=2)
        assert int(np.sum(run.prediction == labels)) == right
