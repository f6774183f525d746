"""The torch engine against the engine that goes event by event: equal to the last bit.

Random graphs have weights of few bits, so that their float sums are exact in any order, too; that
engine is compared with oracles in ``test_engine.py`` and ``test_integer.py``.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
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
from seenn_deploy.errors import DataError, ProgramError, SeennError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.simulator.tensors import synapses
from tests import checkpoints, checkpoints_qcfs, random_graphs
from tests.frontends.test_sew import network as sew
from tests.simulator.test_integer import program_of, to_integers
from tests.targets.lava.graphs import images, program, small

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = EXAMPLES / "cifar10_200.npz"


def assert_same(a: sd.RunResult, b: sd.RunResult) -> None:
    for name in ("logits", "exit_step", "integer_logits", "policy_scores"):
        if getattr(a, name) is not None:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for (name, x), (_, y) in zip(a.counts.items(), b.counts.items(), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)
        assert x.dtype == y.dtype == np.int64
    for name in ("spikes", "v"):
        found = getattr(b, name)
        assert found.keys() == getattr(a, name).keys()
        for layer, values in getattr(a, name).items():
            np.testing.assert_array_equal(values, found[layer], err_msg=f"{name} {layer}")


@settings(max_examples=15)
@given(
    random_graphs.examples(samples=6, real=True),
    st.floats(0.3, 0.99),
    st.fixed_dictionaries(
        {"first_layer": st.sampled_from(["once", "every_step"]),
         "full_trace": st.booleans(), "wasted": st.booleans()}
    ),
    st.integers(1, 7),
)  # fmt: skip
def test_random_float_graphs(
    example: random_graphs.Example, alpha: float, how: dict[str, Any], slots: int
) -> None:
    tested, x = ir.Program(example.graph, Confidence(alpha)), example.images
    plain = sd.simulate(tested, x, record=True, threads=1, **how)
    assert_same(
        plain, sd.simulate(tested, x, record=True, device="cpu", threads=1, slots=slots, **how)
    )


@settings(max_examples=15)
@given(
    random_graphs.examples(samples=6),
    st.sampled_from([1, 1, 40, 3000]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.integers(1, 7),
)
def test_random_integer_graphs_that_wrap_and_saturate(
    example: random_graphs.Example, gain: int, limited: bool, seed: int, slots: int
) -> None:
    graph = to_integers(example.graph, gain, np.random.default_rng(seed))
    streams = graph.source.coding == "events" and graph.source.scale == 1
    x = np.rint(example.images) if streams else example.images
    tested = program_of(graph, x, limited)
    plain = sd.simulate(tested, x, record=True, full_trace=True, threads=1)
    assert_same(
        plain,
        sd.simulate(tested, x, record=True, full_trace=True, device="cpu", threads=1, slots=slots),
    )


@settings(max_examples=25)
@given(st.data(), random_graphs.image_shapes(), st.integers(1, 5))
def test_a_convolution_is_a_product_of_matrices_on_a_gpu(
    data: st.DataObject, shape: tuple[int, ...], samples: int
) -> None:
    """What runs there, on this processor; the windows of some samples at a time."""
    conv = data.draw(random_graphs.convs(shape))
    x = random_graphs.exact_weights(np.random.default_rng(samples), (samples, *shape))
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(synapses, "_HAS_ONEDNN", False)
        changed.setattr(synapses, "WINDOWS", 512)
        made = synapses.currents(conv, shape, torch.float64, torch.device("cpu"))
        np.testing.assert_array_equal(made(torch.from_numpy(x).double()).numpy(), conv.currents(x))


@pytest.mark.parametrize(
    "name",
    [
        "resnet20_T4_cifar10.pth",
        "seenn_resnet19_w1_T4_c10.pth",
        "spikformer_w025_T4_cifar10.safetensors",
    ],
)
def test_the_networks_of_examples_in_int8(name: str) -> None:
    graph = sd.import_model(EXAMPLES / name, T=4)
    policy = sd.exits.Policy(str(EXAMPLES / "policy_resnet20_cifar10.onnx"))
    rule = policy if name.startswith("resnet20") else Confidence(0.9)
    x = for_program(sd.compile(graph), DATA).take(0, 2)
    tested = sd.compile(graph, rule, precision="int8", calibration=x)
    found = sd.simulate(tested, x, record=True, wasted=True, device="cpu", threads=1)
    assert_same(sd.simulate(tested, x, record=True, wasted=True), found)
    assert found.engine == ""
    assert found.counts.spikes.sum() > 0


STATES: dict[str, tuple[Any, dict[str, Any]]] = {
    "QCFS": (checkpoints_qcfs.resnet, {"input_size": 8}),
    "SEW": (lambda: sew((1, 1)).state_dict(), {"input_size": 8}),
    "events": (lambda: checkpoints.vggsnn((4, 6, 6, 8, 8, 8, 8, 8), size=16), {}),
}


@pytest.mark.parametrize("name", STATES)
def test_other_families(name: str, tmp_path: Path) -> None:
    """int8 to the last bit, float32 up to ties, each proven; own layers are counted, too."""
    state, options = STATES[name]
    torch.save(state(), tmp_path / "model.pth")
    graph = sd.import_model(tmp_path / "model.pth", T=3, **options)
    shape = graph.source.shape
    made, shape = (
        (checkpoints.events, (3, *shape)) if name == "events" else (checkpoints.images, shape)
    )
    x = made((4, *shape))
    tested = sd.compile(graph, precision="int8", calibration=x)
    how: dict[str, Any] = {"record": True, "full_trace": True, "threads": 1}
    plain = sd.simulate(tested, x, **how)
    assert_same(plain, sd.simulate(tested, x, device="cpu", slots=3, **how))
    assert plain.counts.spikes.sum() > 0
    report = sd.verify(sd.compile(graph), x, device="cpu", full_trace=True)
    assert report.ok, report


def test_float32_is_the_same_up_to_ties_and_says_so(tmp_path: Path) -> None:
    files = sd.example()
    tested = sd.compile(sd.import_model(files.network, T=4))
    report = sd.verify(tested, for_program(tested, files.images, limit=4), device="cpu")
    assert report.ok, report
    run = sd.simulate(tested, files.images, device="cpu", out=tmp_path / "run", slots=9, threads=1)
    assert run.engine == sd.RunResult.load(tmp_path / "run").engine == "torch cpu"
    assert run.summary()["engine"] == "torch cpu"
    with pytest.raises(ProgramError, match="engine torch cpu, not"):
        sd.simulate(tested, files.images, out=tmp_path / "run", resume=True)


def test_an_int8_run_goes_on_in_the_other_engine(tmp_path: Path) -> None:
    graph = small()
    x = images(graph, 40)
    tested = sd.compile(graph, Confidence(0.5), precision="int8", calibration=x)
    plain = sd.simulate(tested, x, out=tmp_path / "run")
    finished = np.lib.format.open_memmap(tmp_path / "run" / "finished.npy", "r+")
    finished[::3] = False
    finished.flush()
    del finished
    resumed = sd.simulate(tested, x, out=tmp_path / "run", resume=True, device="cpu", threads=1)
    assert_same(sd.simulate(tested, x), resumed)
    assert_same(plain, resumed)


def test_sums_beyond_float32_are_taken_in_float64(tmp_path: Path) -> None:
    """2^24 + 1 is no number of float32; sums beyond 2^53 are refused."""
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (3, 1, 1)),
            ir.Readout("out", (1,), np.zeros(1, np.int32)),
        ],
        [ir.Projection("in", "out", (ir.Dense(np.array([[1 << 12, 1, 0]], np.int32)),))],
        T=1,
    )
    tested = sd.Program(graph, sd.exits.Fixed(), precision="int8", input_range=(0.0, 4096.0))
    x = np.array([4096, 1, 7], np.float32).reshape(1, 3, 1, 1)
    run = sd.simulate(tested, x, record=True, device="cpu")
    assert run.integer_logits is not None
    assert run.integer_logits.tolist() == [[[(1 << 24) + 1]]]
    wide = replace(next(graph.projections), maps=(ir.Dense(np.full((1, 3), 1 << 30)),))
    endless = sd.Program(
        graph.replace(projections=[wide]),
        sd.exits.Fixed(),
        precision="int8",
        input_range=(-np.inf, np.inf),
    )
    with pytest.raises(ProgramError, match=r"^out: .* beyond 2\^53.* leave out the device$"):
        sd.simulate(endless, x, device="cpu", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_the_process_allows_torch_is_left_as_it_was() -> None:
    tested = program(small())
    x = images(tested.graph, 3)
    torch.set_float32_matmul_precision("medium")
    try:
        assert_same(sd.simulate(tested, x), sd.simulate(tested, x, device="cpu", threads=1))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = program(small())
    x = images(tested.graph, 1)
    for device in ("gpu", "cuda:", "cpu:0", "lava"):
        with pytest.raises(DataError, match="must be 'cpu', 'cuda' or 'cuda:N'"):
            sd.simulate(tested, x, device=device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SeennError, match=r"^device cuda: no GPU$"):
        sd.simulate(tested, x, device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SeennError, match=r"^device cuda:2: GPUs 0\.\.1 only$"):
        sd.simulate(tested, x, device="cuda:2")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "seenn_deploy.simulator.engine.find_spec",
        lambda name: None if name == "torch" else found(name),
    )
    with pytest.raises(SeennError, match=r"needs torch: pip install 'seenn-deploy\[torch\]'$"):
        sd.simulate(tested, x, device="cpu")


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = program(small())
    tested.save(tmp_path / "build")
    np.savez(tmp_path / "x.npz", x=images(tested.graph, 12), y=np.arange(12) % 4)
    common = [str(tmp_path / "build"), "--data", str(tmp_path / "x.npz")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def said(*words: str) -> str:
        done = CliRunner().invoke(seenn, [words[0], *common, *words[1:], "--threads", "1"])
        assert done.exit_code == 0, done.output
        return done.output

    assert "torch cpu, equal up to rounding ties" in said("simulate", "--device", "cpu")
    assert "SEENN-I" in said("evaluate", "--device", "cpu", "--thresholds", "0.9")
    run = tmp_path / "run"
    out = tmp_path / "out"
    refused = CliRunner().invoke(seenn, ["simulate", *common, "--device", "cuda", "-o", str(out)])
    assert str(refused.exception) == "device cuda: no GPU"
    assert not out.exists()
    verified = CliRunner().invoke(seenn, ["verify", *common, "--device", "cpu", "--limit", "2"])
    assert "cpu equals the simulator" in verified.output
    said("sweep", "--device", "cpu", "--rules", "confidence", "--run", str(run))
    assert sd.RunResult.load(run).engine == "torch cpu"
