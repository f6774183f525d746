from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seenn_deploy import metrics
from seenn_deploy.compiler.passes import fold_affine, fold_pool
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.errors import ModelError
from seenn_deploy.frontends import qcfs
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.ir.graph import Population, SpikingGraph
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.maps import Identity
from seenn_deploy.simulator.engine import simulate
from tests import checkpoints, checkpoints_qcfs, naive, reference_qcfs
from tests.checkpoints import State
from tests.reference import CIFAR10_MEAN, CIFAR10_STD

SHARED = Path(__file__).parents[3] / "shared"
SHARED_MODEL = SHARED / "models" / "seenn_qcfs_resnet20_w1_L8_c10.pth"
SHARED_IMAGES = SHARED / "data" / "cifar10" / "test.npz"

Family = tuple[Callable[[], State], reference_qcfs.Step, dict[str, Any], tuple[int, ...]]
FAMILIES: dict[str, Family] = {
    "resnet": (checkpoints_qcfs.resnet, reference_qcfs.resnet, {"input_size": 8}, (3, 8, 8)),
    "resnet of four stages, odd channels and size": (
        lambda: checkpoints_qcfs.resnet((3, 3, 4, 5), (1, 1, 2, 1), 2, 7, size=9),
        reference_qcfs.resnet,
        {"input_size": (9, 9)},
        (2, 9, 9),
    ),
    "bottleneck blocks": (
        lambda: checkpoints_qcfs.resnet((3, 4), (1, 2), bottleneck=True),
        reference_qcfs.resnet,
        {"input_size": 8},
        (3, 8, 8),
    ),
    "vgg": (checkpoints_qcfs.vgg, reference_qcfs.vgg, {"input_size": 16}, (3, 16, 16)),
}


def saved(folder: Path, state: State, name: str = "model.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


def error(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        import_model(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def normalization(x: np.ndarray) -> dict[str, Any]:
    return {"mean": CIFAR10_MEAN, "std": CIFAR10_STD} if x.shape[1] == 3 else {}


def load(folder: Path, name: str, T: int) -> tuple[State, SpikingGraph, np.ndarray]:
    make, _, options, shape = FAMILIES[name]
    state = make()
    graph = import_model(saved(folder, state), T=T, **options)
    assert graph.source.shape == shape
    return state, graph, checkpoints.images((2, *shape), seed=5)


# --- agreement ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_computes_what_the_reference_does(tmp_path: Path, name: str) -> None:
    """Every map in turn, nothing folded but the thresholds, float64: spike for spike."""
    T = 6
    state, graph, x = load(tmp_path, name, T)
    want = reference_qcfs.snn(FAMILIES[name][1], state, x[:1], T, **normalization(x))
    got = naive.run_chain(graph, x[0], T)
    populations = [n.name for n in graph.layers if isinstance(n, Population)]
    assert populations == list(want.spikes)
    for layer in populations:
        np.testing.assert_array_equal(got.outputs[layer], want.spikes[layer], err_msg=layer)
        np.testing.assert_allclose(
            got.before_reset[layer], want.before_reset[layer], rtol=1e-9, atol=1e-9
        )
        assert want.spikes[layer].any()
    np.testing.assert_allclose(got.logits, want.logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_folded_graph_computes_it_too(tmp_path: Path, name: str) -> None:
    T = 6
    state, graph, x = load(tmp_path, name, T)
    want = reference_qcfs.snn(FAMILIES[name][1], state, x, T, **normalization(x))
    got = naive.run(fold_affine.apply(fold_pool.apply(graph)), x, T)
    for layer, spikes in want.spikes.items():
        np.testing.assert_array_equal(got.outputs[layer], spikes, err_msg=layer)
    np.testing.assert_allclose(got.logits, want.logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_simulator_agrees_but_for_proven_ties(tmp_path: Path, name: str) -> None:
    T = 8
    make, step, options, shape = FAMILIES[name]
    state, path = make(), tmp_path / "model.pth"
    torch.save(state, path)
    program = compile(import_model(path, T=T, **options))
    x = checkpoints.images((10, *shape), seed=7)
    assert_simulated(program, step, state, x)


def assert_simulated(program: Any, step: Any, state: State, x: np.ndarray) -> None:
    """float64 decides as the simulator does after the same history, or v' lies on the threshold."""
    run = simulate(program, x, record=True, full_trace=True)
    want = reference_qcfs.snn(step, state, x, program.T, forced=run.spikes, **normalization(x))
    decisions = ties = 0
    for node in program.graph.layers[:-1]:
        v, s = want.before_reset[node.name], run.spikes[node.name].astype(bool)
        tied = (v > node.v_threshold) != s
        assert np.all(np.abs(v - node.v_threshold)[tied] < 2e-5 * program.T), node.name
        decisions, ties = decisions + s.size, ties + int(tied.sum())
    assert ties <= 2e-5 * decisions + 1
    np.testing.assert_allclose(run.logits, want.logits, rtol=1e-5, atol=1e-4)


# --- what an imported graph looks like -----------------------------------------------------------


def test_neurons_and_scales(tmp_path: Path) -> None:
    state, graph, _ = load(tmp_path, "resnet", 4)
    for node in graph.layers[:-1]:
        up = float(state[f"{node.name}.up"])
        found = (node.tau, node.reset, node.comparison, node.v_threshold, node.v_init)
        assert found == (1.0, "soft", ">", up, up / 2)
    identities = [e for e in graph.projections if isinstance(e.maps[0], Identity)]
    assert [(e.pre, e.post) for e in identities] == [
        ("conv1.2", "conv2_x.0.relu"),
        ("conv2_x.0.relu", "conv2_x.1.relu"),
    ]
    for edge in identities:
        assert float(edge.maps[0].weight) == float(state[f"{edge.pre}.up"])
    compiled = compile(graph).graph
    assert sum(isinstance(e.synapses, Identity) for e in compiled.projections) == 2


@pytest.mark.parametrize(
    ("classes", "size", "mean"), [(10, 32, 0.4914), (100, 32, 129.3 / 255), (1000, 224, 0.485)]
)
def test_normalization_by_the_number_of_classes(
    tmp_path: Path, classes: int, size: int, mean: float
) -> None:
    state = checkpoints_qcfs.resnet((2, 2), (1, 1), classes=classes)
    assumed = import_model(saved(tmp_path, state)).provenance["assumed"]
    assert assumed["T"] == 16
    assert (assumed["input_shape"], assumed["mean"][0]) == ([3, size, size], mean)
    assert (
        import_model(saved(tmp_path, state), normalize=False).provenance["assumed"]["mean"] is None
    )


def test_other_classes_and_channels(tmp_path: Path) -> None:
    state = checkpoints_qcfs.resnet((2, 2), (1, 1), classes=7)
    assert import_model(saved(tmp_path, state)).provenance["assumed"]["mean"][0] == 0.4914
    grey = checkpoints_qcfs.resnet((2, 2), (1, 1), 1)
    assert import_model(saved(tmp_path, grey)).provenance["assumed"]["mean"] is None


def test_safetensors_and_data_parallel_names(tmp_path: Path) -> None:
    state = checkpoints_qcfs.resnet()
    save_file(state, tmp_path / "model.safetensors")
    parallel = saved(tmp_path, {f"module.{k}": v for k, v in state.items()})
    for path in (tmp_path / "model.safetensors", parallel):
        assert import_model(path).provenance["family"] == "SEENN's converted ResNet"


# --- the shared checkpoint -----------------------------------------------------------------------


@pytest.mark.skipif(not SHARED_MODEL.is_file(), reason="the shared checkpoint is not there")
def test_the_shared_checkpoint() -> None:
    """SEENN's own ResNet-20: spikes and logits, and its accuracy over t on the first images."""
    graph = import_model(SHARED_MODEL)
    program = compile(graph)
    assert (len(program.graph.layers), program.T) == (18, 16)
    images = for_program(program, SHARED_IMAGES, limit=200)
    state = torch.load(SHARED_MODEL, map_location="cpu", weights_only=True)
    assert_simulated(program, reference_qcfs.resnet, state, images.take(0, 4))
    run = simulate(program, images)
    assert images.labels is not None
    right = metrics.correct_by_step(run.logits, images.labels).sum(axis=0)
    want = SHARED_RIGHT
    assert np.all(np.abs(right - want) <= 1), right.tolist()  # a tie may turn one image


# of the first 200 test images, by t = 1..16; the reference in float32
SHARED_RIGHT = np.array(
    [70, 85, 105, 124, 133, 143, 149, 150, 155, 158, 158, 159, 160, 161, 162, 160]
)


# --- bad input -----------------------------------------------------------------------------------


def test_an_option_of_the_other_kind_of_network(tmp_path: Path) -> None:
    message = error(saved(tmp_path, checkpoints_qcfs.resnet()), tau=0.5)
    assert "option 'tau' means nothing for this network (frontend qcfs; it knows T, " in message
    assert "frontend seenn" in error(saved(tmp_path, checkpoints.resnet()), levels=8)


def test_an_unknown_network_names_all_that_was_tried(tmp_path: Path) -> None:
    message = error(saved(tmp_path, {"a.weight": torch.zeros(2)}))
    assert "unknown network" in message
    assert qcfs.NETWORKS in message
    assert "SEENN's ResNet, SEW-ResNet, VGG, VGGSNN, Spikformer or mlp and rnn" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv1.2.up": torch.tensor([-1.0])}, "'conv1.2.up' is -1; a threshold must be positive"),
        ({"conv1.2.up": torch.tensor([0.0])}, "must be positive"),
        ({"conv1.2.up": torch.tensor([np.nan])}, "'conv1.2.up' holds 1 NaN"),
        ({"conv2_x.0.relu.up": torch.ones(3)}, "'conv2_x.0.relu.up' has shape (3,), expected (1)"),
        ({"conv2_x.0.residual_function.2.up": None}, "residual_function.2.up' is missing"),
        ({"fc.bias": None}, "'fc.bias' is missing"),
        ({"extra.weight": torch.ones(3)}, "1 tensors do not fit it: extra.weight"),
        (
            {"conv2_x.0.residual_function.0.weight": torch.ones(3, 3, 5, 5)},
            "has a [5, 5] kernel; 1x1 or 3x3 expected",
        ),
        (
            {"conv3_x.0.shortcut.0.weight": torch.ones(4, 5, 1, 1)},
            "'conv3_x.0.shortcut.0.weight' has shape",
        ),
    ],
)
def test_damaged_checkpoints(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    state = checkpoints_qcfs.resnet() | change
    state = {k: v for k, v in state.items() if v is not None}
    assert words in error(saved(tmp_path, state))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"T": 0}, "T must be"),
        ({"mean": (0.5,)}, "mean and std belong together"),
        ({"mean": (0.5,), "std": (1.0,)}, "the input has 3 channels"),
        ({"input_size": 0}, "does not fit"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    assert words in error(saved(tmp_path, checkpoints_qcfs.resnet()), **options)


def test_a_vgg_for_another_image_size(tmp_path: Path) -> None:
    message = error(saved(tmp_path, checkpoints_qcfs.vgg()), input_size=32)
    assert "'classifier.1.weight' has shape" in message
