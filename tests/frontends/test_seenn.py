from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seenn_deploy.compiler.passes import fold_affine, fold_pool
from seenn_deploy.errors import ModelError
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.ir.graph import Population, SpikingGraph
from seenn_deploy.ir.maps import Identity
from tests import checkpoints, naive, reference
from tests.checkpoints import State

TINY = (3, 4, 6)  # channels of a small ResNet
TINY_SNN = (2, 3, 3, 4, 4, 4, 5, 5)
TINY_VGG = (16, "M", 24, "M", 24, 32)


def tiny_resnet(**options: Any) -> State:
    return checkpoints.resnet(blocks=(2, 1, 1), channels=TINY, size=8, **options)


def saved(folder: Path, state: Any, name: str = "model.pth") -> Path:
    path = folder / name
    if path.suffix == ".safetensors":
        save_file({k: v.clone() for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def error(path: Path, **options: Any) -> str:
    """The message of the ModelError, which is one line and names the file."""
    with pytest.raises(ModelError) as caught:
        import_model(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- recognition and agreement -----------------------------------------------------------------

Family = tuple[Callable[[], State], reference.Step, dict[str, Any], tuple[int, ...]]
FAMILIES: dict[str, Family] = {
    "resnet": (tiny_resnet, reference.resnet, {"input_size": 8}, (3, 8, 8)),
    "resnet, odd channels and classes": (
        lambda: tiny_resnet(in_channels=2, classes=7),
        reference.resnet,
        {"input_size": 8},
        (2, 8, 8),
    ),
    "resnet without blocks to spare": (
        lambda: checkpoints.resnet(blocks=(1, 1, 1), channels=TINY, size=12),
        reference.resnet,
        {"input_size": (12, 8)},
        (3, 12, 8),
    ),
    "vgg": (
        lambda: checkpoints.vgg(TINY_VGG, size=8),
        reference.vgg,
        {"input_size": 8},
        (3, 8, 8),
    ),
    "vgg without batch norm": (
        lambda: checkpoints.vgg(TINY_VGG, batch_norm=False, in_channels=1, size=8),
        reference.vgg,
        {"input_size": 8},
        (1, 8, 8),
    ),
    "vgg with odd sizes": (
        lambda: checkpoints.vgg(TINY_VGG, size=11),
        reference.vgg,
        {"input_size": 11},
        (3, 11, 11),
    ),
    "vggsnn": (
        lambda: checkpoints.vggsnn(TINY_SNN, size=16),
        reference.vggsnn,
        {},
        (2, 16, 16),
    ),
    "vggsnn_woap": (
        lambda: checkpoints.vggsnn_woap(TINY_SNN, size=16),
        reference.vggsnn_woap,
        {},
        (2, 16, 16),
    ),
}


def load(folder: Path, name: str, **options: Any) -> tuple[State, SpikingGraph]:
    make, _, known, _ = FAMILIES[name]
    state = make()
    return state, import_model(saved(folder, state), **(known | options))


def random_input(graph: SpikingGraph, n: int, T: int) -> np.ndarray:
    shape = graph.source.shape
    if graph.source.coding == "direct":
        return checkpoints.images((n, *shape), seed=5)
    return checkpoints.events((n, T, *shape), seed=5)


def expected(name: str, state: State, x: np.ndarray, T: int, **neurons: Any) -> reference.Record:
    """The reference in float64, normalised as SEENN does where the input has three channels."""
    rgb = x.ndim == 4 and x.shape[1] == 3
    return reference.forward(
        FAMILIES[name][1],
        state,
        x,
        T,
        dtype=torch.float64,
        mean=reference.CIFAR10_MEAN if rgb else None,
        std=reference.CIFAR10_STD if rgb else None,
        neurons=reference.Neurons(**neurons),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_computes_what_the_reference_does(tmp_path: Path, name: str) -> None:
    """Every map in turn, nothing folded, float64: spike for spike."""
    T = 3
    state, graph = load(tmp_path, name, T=T)
    assert graph.source.shape == FAMILIES[name][3]
    x = random_input(graph, 1, T)
    want = expected(name, state, x, T)
    got = naive.run_chain(graph, x[0], T)
    populations = [n.name for n in graph.layers if isinstance(n, Population)]
    assert populations == list(want.spikes)
    for layer in populations:
        np.testing.assert_array_equal(got.outputs[layer], want.spikes[layer], err_msg=layer)
        np.testing.assert_allclose(
            got.before_reset[layer], want.before_reset[layer], rtol=1e-9, atol=1e-9
        )
    np.testing.assert_allclose(got.logits, want.logits, rtol=1e-9, atol=1e-9)
    assert sum(s.sum() for s in want.spikes.values()) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_folded_graph_computes_it_too(tmp_path: Path, name: str) -> None:
    T = 3
    state, graph = load(tmp_path, name, T=T)
    x = random_input(graph, 2, T)
    want = expected(name, state, x, T)
    got = naive.run(fold_affine.apply(fold_pool.apply(graph)), x, T)
    for layer, spikes in want.spikes.items():
        np.testing.assert_array_equal(got.outputs[layer], spikes, err_msg=layer)
    np.testing.assert_allclose(got.logits, want.logits, rtol=1e-9, atol=1e-9)


def test_neuron_options_reach_every_population(tmp_path: Path) -> None:
    options = {"tau": 0.75, "v_threshold": 0.5, "comparison": ">="}
    state, graph = load(tmp_path, "resnet", T=2, **options)
    for node in graph.layers[:-1]:
        assert (node.tau, node.v_threshold, node.comparison) == (0.75, 0.5, ">=")
    x = random_input(graph, 1, 2)
    want = expected("resnet", state, x, 2, tau=0.75, threshold=0.5, comparison=">=")
    np.testing.assert_allclose(naive.run_chain(graph, x[0]).logits, want.logits, atol=1e-9)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(("in_channels", "classes"), [(3, 10), (2, 11), (1, 100)])
def test_resnet19_of_any_width_inputs_and_classes(
    tmp_path: Path, width: int, in_channels: int, classes: int
) -> None:
    state = checkpoints.resnet(width, (3, 3, 2), in_channels, classes, calibrated=False)
    graph = import_model(saved(tmp_path, state), check=False)  # it is proven where it is run
    assert graph.provenance["family"] == "SEENN's ResNet"
    assert graph.source.shape == (in_channels, 32, 32)
    assert graph.readout.shape == (classes,)
    shapes = [n.shape for n in graph.layers[:-1]]
    w = 16 * width
    stages = [(w, 32, 32)] * 7 + [(2 * w, 16, 16)] * 6 + [(4 * w, 8, 8)] * 4
    assert shapes == stages
    assert graph.depth["fc1"] == 18  # design, section 6
    identities = [e for e in graph.projections if isinstance(e.maps[0], Identity)]
    assert len(identities) == 6  # 8 blocks, two of them with a convolution shortcut


@pytest.mark.parametrize("cfg", ["A", "B", "D"])
def test_vgg_of_seenn(tmp_path: Path, cfg: str) -> None:
    convolutions = sum(item != "M" for item in checkpoints.VGG_CFG[cfg])
    state = checkpoints.vgg(checkpoints.VGG_CFG[cfg], width=0.5)
    graph = import_model(saved(tmp_path, state), check=False)
    assert graph.provenance["family"] == "SEENN's VGG"
    assert len(graph.layers) == convolutions + 1
    assert graph.layers[-2].shape[1:] == ((4, 4) if cfg in "AB" else (2, 2))


@pytest.mark.parametrize(
    ("make", "size"), [(checkpoints.vggsnn, 32), (checkpoints.vggsnn_woap, 48)]
)
def test_vggsnn_finds_its_input_size(tmp_path: Path, make: Callable[..., State], size: int) -> None:
    graph = import_model(saved(tmp_path, make(TINY_SNN, size=size)))
    assert graph.source.shape == (2, size, size)
    assert graph.source.coding == "events"
    assert graph.provenance["family"] == "SEENN's VGGSNN"


def test_everything_assumed_is_recorded(tmp_path: Path) -> None:
    _, graph = load(tmp_path, "resnet")
    assert {k: v for k, v in graph.provenance.items() if k not in ("report", "proof")} == {
        "source": "model.pth",
        "frontend": "seenn",
        "family": "SEENN's ResNet",
        "assumed": {
            "T": 4,
            "tau": 0.5,
            "v_threshold": 1.0,
            "comparison": ">",
            "input_shape": [3, 8, 8],
            "coding": "direct",
            "mean": list(reference.CIFAR10_MEAN),
            "std": list(reference.CIFAR10_STD),
        },
    }


def test_options_given_are_recorded(tmp_path: Path) -> None:
    options = {"T": 6, "tau": 0.25, "v_threshold": 2.0, "comparison": ">="}
    given = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    _, graph = load(tmp_path, "resnet", **options, **given)
    assert graph.provenance["assumed"] == {
        **options,
        **given,
        "input_shape": [3, 8, 8],
        "coding": "direct",
    }


def test_inputs_already_normalised(tmp_path: Path) -> None:
    _, graph = load(tmp_path, "resnet", normalize=False)
    assert graph.provenance["assumed"]["mean"] is None
    (edge,) = graph.into("spike")
    assert len(edge.maps) == 2  # convolution, batch norm


# --- the same network in other wrappings -------------------------------------------------------


def assert_same_graph(a: SpikingGraph, b: SpikingGraph) -> None:
    x = random_input(a, 1, a.T)[0]
    np.testing.assert_array_equal(naive.run_chain(a, x).logits, naive.run_chain(b, x).logits)


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.safetensors", "MODEL.PTH"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_file_formats_and_data_parallel(tmp_path: Path, name: str, prefix: str) -> None:
    state = tiny_resnet()
    plain = import_model(saved(tmp_path, state, "plain.pth"), input_size=8)
    wrapped = saved(tmp_path, {prefix + k: v for k, v in state.items()}, name)
    assert_same_graph(plain, import_model(wrapped, input_size=8))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {"net": s, "acc": 93.1},
        lambda s: {"model_state_dict": {"module." + k: v for k, v in s.items()}},
        lambda s: {"state_dict": {"model": s}},
    ],
)
def test_nested_state_dicts(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    state = tiny_resnet()
    plain = import_model(saved(tmp_path, state, "plain.pth"), input_size=8)
    nested = import_model(saved(tmp_path, wrap(state), "nested.pth"), input_size=8)
    assert_same_graph(plain, nested)


def test_a_size_that_fits_no_layer_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path, tiny_resnet())
    with pytest.raises(ModelError, match=r"no network for 9x9 inputs; say the input_size"):
        import_model(path, input_size=9)
    with pytest.raises(ModelError, match=r"^T must be a whole number"):
        import_model(path, input_size=8, T=0)


def test_the_old_file_format_of_torch(tmp_path: Path) -> None:
    state = tiny_resnet()
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    plain = import_model(saved(tmp_path, state), input_size=8)
    assert_same_graph(plain, import_model(tmp_path / "old.pth", input_size=8))


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float64, "model.pth"),
        (torch.float16, "model.pth"),
        (torch.bfloat16, "model.pth"),
        (torch.float64, "model.safetensors"),
        (torch.float16, "model.safetensors"),
    ],
)
def test_other_precisions(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tiny_resnet().items()}
    same = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    plain = import_model(saved(tmp_path, same, "plain.pth"), input_size=8)
    assert_same_graph(plain, import_model(saved(tmp_path, state, name), input_size=8))


def test_bfloat16_in_safetensors_is_refused_with_the_remedy(tmp_path: Path) -> None:
    state = {"conv1.weight": torch.zeros(2, dtype=torch.bfloat16)}
    message = error(saved(tmp_path, state, "model.safetensors"))
    assert "bfloat16" in message
    assert "save the tensors as float32" in message


# --- files that are no checkpoints -------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    assert "nothing.pth: no such file" in error(tmp_path / "nothing.pth")
    assert "is a folder; name the file in it" in error(tmp_path)


def test_unknown_suffix(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"")
    message = error(path)
    assert "model.h5: no frontend reads .h5" in message
    assert ".pth" in message


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 1000, b"PK\x03\x04 and more", b"\x80\x02]q\x00."]
)
def test_not_a_checkpoint(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = error(path)
    assert message.startswith(f"{path}: ")
    assert "not a" in message


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_truncated_file(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, tiny_resnet(), name)
    path.write_bytes(path.read_bytes()[:-500])
    assert "not a" in error(path)


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        {},
        torch.zeros(2),
        {"a": 1},
        {"epoch": 3, "lr": 0.1},
        {1: torch.zeros(2)},
        {"state_dict": {}},
        {"state_dict": []},
        3,
    ],
)
def test_torch_files_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    message = error(saved(tmp_path, content))
    assert message.startswith(f"{tmp_path / 'model.pth'}: ")
    assert "state_dict" in message


class Evil:
    """Pickled, it asks to run ``os.mkdir`` when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, legacy: bool, nested: bool) -> None:
    proof = tmp_path / "it-ran"
    evil: Any = {**tiny_resnet(), "extra": Evil(proof)} if nested else Evil(proof)
    path = tmp_path / "evil.pth"
    torch.save(evil, path, _use_new_zipfile_serialization=not legacy)
    message = error(path)
    assert not proof.exists()
    assert message.startswith(f"{path}: refused")
    assert "mkdir" in message
    assert "state_dict" in message
    torch.load(path, weights_only=False)
    assert proof.exists()  # the trap is a real one


def test_a_bare_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    proof, path = tmp_path / "it-ran", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Evil(proof)))
    error(path)
    assert not proof.exists()


# --- state_dicts that do not fit ---------------------------------------------------------------


def test_an_unknown_network_names_its_keys(tmp_path: Path) -> None:
    state = {f"block{i}.weight": torch.zeros(2) for i in range(9)}
    message = error(saved(tmp_path, state))
    assert "model.pth: unknown network" in message
    assert "block0.weight" in message
    assert "(4 more)" in message


@pytest.mark.parametrize(
    "key",
    ["extra.weight", "layer1.7.conv1.module.weight", "fc2.weight", "layer9.0.bn1.bn.weight"],
)
def test_leftover_tensors_are_named(tmp_path: Path, key: str) -> None:
    state = tiny_resnet() | {key: torch.zeros(3, 3, 3, 3)}
    message = error(saved(tmp_path, state), input_size=8)
    assert "looks like SEENN's ResNet" in message
    assert key in message


SMALLEST: dict[str, tuple[Callable[[], State], dict[str, Any]]] = {
    "resnet": (
        lambda: checkpoints.resnet(blocks=(1, 1), channels=(2, 3), size=4),
        {"input_size": 4},
    ),
    "vgg": (lambda: checkpoints.vgg((8, "M", 12), size=4), {"input_size": 4}),
    "vggsnn_woap": (lambda: checkpoints.vggsnn_woap((2,) * 8, size=16), {}),
}


@pytest.mark.parametrize("family", SMALLEST)
def test_every_missing_tensor_is_an_error(tmp_path: Path, family: str) -> None:
    make, options = SMALLEST[family]
    state = make()
    for key in state:
        path = saved(tmp_path, {k: v for k, v in state.items() if k != key}, "m.safetensors")
        if "seqbn" in key or "module.1.num_batches" in key:
            import_model(path, **options)  # said twice, or of no use
        else:
            message = error(path, **options)
            assert message.startswith(f"{path}: "), (key, message)


@pytest.mark.parametrize("family", SMALLEST)
def test_every_wrong_shape_is_an_error(tmp_path: Path, family: str) -> None:
    make, options = SMALLEST[family]
    state = make()
    for key, value in state.items():
        if "num_batches" in key:
            continue
        free = key == next(iter(state))  # the first convolution takes any number of channels
        for axis in (a for a in range(value.ndim) if not (free and a == 1)):
            changed = torch.cat([value, value.narrow(axis, 0, 1)], dim=axis)
            path = saved(tmp_path, state | {key: changed}, "m.safetensors")
            message = error(path, **options)
            assert message.startswith(f"{path}: "), (key, axis, message)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("family", SMALLEST)
def test_every_nan_or_infinity_is_an_error(tmp_path: Path, family: str, bad: float) -> None:
    make, options = SMALLEST[family]
    state = make()
    for key, value in state.items():
        if not value.is_floating_point() or "seqbn" in key:
            continue
        changed = value.clone()
        changed.view(-1)[-1] = bad
        twin = key.replace(".bn.", ".seqbn.module.")
        both = {k: changed for k in (key, twin) if k in state}
        message = error(saved(tmp_path, state | both, "m.safetensors"), **options)
        assert key in message
        assert "NaN or infinite" in message


def test_a_copy_that_contradicts(tmp_path: Path) -> None:
    state = tiny_resnet()
    state["layer1.0.bn1.seqbn.module.bias"] = state["layer1.0.bn1.bn.bias"] + 1
    message = error(saved(tmp_path, state), input_size=8)
    assert "'layer1.0.bn1.seqbn.module.bias' and 'layer1.0.bn1.bn.bias'" in message
    assert "differ" in message


def test_negative_variance(tmp_path: Path) -> None:
    state = tiny_resnet()
    bad = state["bn.bn.running_var"].clone()
    bad[0] = -0.5
    state |= {"bn.bn.running_var": bad, "bn.seqbn.module.running_var": bad}
    assert "'bn.bn.running_var' is negative (-0.5)" in error(saved(tmp_path, state), input_size=8)


def test_layers_at_places_vggsnn_does_not_have_them(tmp_path: Path) -> None:
    state = checkpoints.vggsnn(TINY_SNN, size=16)
    moved = {k.replace("features.10.", "features.11."): v for k, v in state.items()}
    message = error(saved(tmp_path, moved))
    assert "(0, 1, 3, 4, 6, 7, 9, 11)" in message
    assert "VGGSNNwoAP" in message


def test_a_classifier_of_no_square(tmp_path: Path) -> None:
    state = checkpoints.vggsnn_woap(TINY_SNN, size=16)
    state["classifier.module.weight"] = torch.zeros(10, 5 * 6)
    message = error(saved(tmp_path, state))
    assert "30 features" in message
    assert "input_size" in message


# --- options that make no sense ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"T": 0}, "1 to 1,048,576; found 0"),
        ({"T": -3}, "1 to 1,048,576; found -3"),
        ({"T": 2.5}, "found 2.5"),
        ({"tau": -0.1}, "tau = -0.1"),
        ({"tau": 1.5}, "tau = 1.5"),
        ({"tau": float("nan")}, "tau = nan"),
        ({"v_threshold": 0}, "v_threshold = 0"),
        ({"v_threshold": -1}, "v_threshold = -1"),
        ({"v_threshold": float("inf")}, "v_threshold = inf"),
        ({"comparison": "=>"}, "comparison '=>'"),
        ({"coding": "rate"}, "coding 'rate'"),
        ({"mean": (0, 0, 0)}, "mean and std belong together"),
        ({"std": (1, 1, 1)}, "mean and std belong together"),
        ({"mean": (0, 0), "std": (1, 1)}, "the input has 3 channels"),
        ({"mean": (0, 0, 0), "std": (1, 1)}, "the input has 3 channels"),
        ({"mean": (0, 0, 0), "std": (1, 0, 1)}, "must be positive"),
        ({"mean": (0, 0, float("nan")), "std": (1, 1, 1)}, "must be finite"),
        ({"mean": 0.5, "std": 0.5}, "mean = 0.5: the input has 3 channels"),
        ({"input_size": 0}, "does not fit"),
        ({"input_size": -8}, "does not fit"),
        ({"input_size": 7}, "give shape"),
        ({"input_size": (8,)}, "cannot take shape"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    path = saved(tmp_path, tiny_resnet())
    assert words in error(path, **({"input_size": 8} | options))


def test_an_input_size_that_the_classifier_contradicts(tmp_path: Path) -> None:
    path = saved(tmp_path, checkpoints.vggsnn_woap(TINY_SNN, size=32))
    assert "'classifier.module.weight' has shape" in error(path, input_size=48)
