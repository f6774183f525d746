from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import seenn_deploy as sd
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network import forward, writing
from seenn_deploy.exits.policy_network.forward import PolicyNetwork
from seenn_deploy.targets.lava.policy import lower
from seenn_deploy.training.policy import PolicyModel, describe
from tests import checkpoints

SHAPE, T, N = (3, 16, 16), 4, 24


def write_policy(folder: Path, **changes: Any) -> Path:
    """A random policy that picks several of its choices."""
    about = {"input_shape": SHAPE, "classes": 10, "T": T}
    about |= {"input_shape" if k == "shape" else k: v for k, v in changes.items() if k != "choices"}
    path = folder / "trained.onnx"
    path.write_bytes(writing.to_onnx(described(**changes), **about))
    return path


def described(**changes: Any) -> PolicyNetwork:
    torch.manual_seed(11)
    model = PolicyModel(changes.get("choices", (1, 2, 4)), changes.get("shape", SHAPE)[0])
    for _ in range(3):
        model.train()(torch.rand(16, *changes.get("shape", SHAPE)) ** 3)
    with torch.no_grad():  # no choice is better than another on average
        model.net.fc1.module.bias -= model.eval()(
            torch.rand(64, *changes.get("shape", SHAPE)) ** 3
        ).mean(dim=0)
    return describe(model.eval())


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> sd.SpikingGraph:
    path = tmp_path_factory.mktemp("policy") / "model.pth"
    torch.save(checkpoints.resnet(1, (1, 1, 1), size=16), path)
    return sd.import_model(path, T=T, input_size=16)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(5).random((N, *SHAPE)).astype(np.float32) ** 3


def test_samples_stop_where_the_policy_says(
    tmp_path: Path, graph: sd.SpikingGraph, images: np.ndarray
) -> None:
    rule = Policy(write_policy(tmp_path))
    chosen = rule.steps(list(images))
    assert len(set(chosen)) > 1 and set(chosen) <= {1, 2, 4}
    program = sd.compile(graph, rule)
    run = sd.simulate(program, images)
    np.testing.assert_array_equal(run.exit_step, chosen)
    full = sd.simulate(program, images, full_trace=True, threads=1, slots=3)
    np.testing.assert_array_equal(full.exit_step, chosen)
    np.testing.assert_array_equal(full.exit_logits, run.exit_logits)
    assert not run.counts.ac[chosen == 1][:, :, 1:].any()


def test_an_image_s_choice_does_not_depend_on_its_neighbours(
    tmp_path: Path, images: np.ndarray
) -> None:
    rule = Policy(write_policy(tmp_path))
    one_by_one = [int(rule.steps([image])[0]) for image in images]
    assert rule.steps(list(images)).tolist() == one_by_one


def test_a_program_carries_its_policy(
    tmp_path: Path, graph: sd.SpikingGraph, images: np.ndarray
) -> None:
    path = write_policy(tmp_path)
    program = sd.compile(graph, Policy(path), schedule="pipelined")
    program.save(tmp_path / "build")
    content = path.read_bytes()
    path.unlink()
    loaded = sd.Program.load(tmp_path / "build")
    assert (tmp_path / "build" / "policy.onnx").read_bytes() == content
    assert loaded.exit_rule.to_dict() == program.exit_rule.to_dict()
    assert loaded.fingerprint == program.fingerprint
    expected = loaded.exit_rule.steps(list(images))
    np.testing.assert_array_equal(sd.simulate(loaded, images).exit_step, expected)
    loaded.save(tmp_path / "build", force=True)  # over the folder that holds the network it carries
    again = sd.Program.load(tmp_path / "build")
    np.testing.assert_array_equal(sd.simulate(again, images).exit_step, expected)


def test_its_energy_is_in_every_report(
    tmp_path: Path, graph: sd.SpikingGraph, images: np.ndarray
) -> None:
    rule = Policy(write_policy(tmp_path))
    run = sd.simulate(sd.compile(graph, rule), images, out=tmp_path / "run")
    macs = sum(m for _, _, m in forward.layer_sizes(described(), SHAPE))
    for found in (run, sd.RunResult.load(tmp_path / "run")):
        summary = found.summary()
        assert summary["policy_mac"] == macs == rule.dense_macs
        assert summary["policy_energy_uJ_per_sample"] == pytest.approx(macs * 4.6e-6)
        assert summary["total_energy_uJ_per_sample"] == pytest.approx(
            summary["energy_uJ_per_sample"] + macs * 4.6e-6
        )
    without = sd.simulate(sd.compile(graph), images).summary()
    assert without["policy_mac"] == 0
    assert without["total_energy_uJ_per_sample"] == without["energy_uJ_per_sample"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"T": 5}, "5 timesteps, the program runs 4"),
        ({"classes": 7}, "for classes, 7, the program for 10"),
        ({"shape": (3, 8, 8)}, r"images of shape \(3, 8, 8\), the program for \(3, 16, 16\)"),
    ],
)
def test_a_policy_for_another_program_is_refused(
    tmp_path: Path, graph: sd.SpikingGraph, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ProgramError, match=words):
        sd.compile(graph, Policy(write_policy(tmp_path, **changes)))


def test_event_programs_have_no_policy(tmp_path: Path) -> None:
    small = tuple(c // 16 for c in checkpoints.VGGSNN_CHANNELS)
    torch.save(checkpoints.vggsnn(small, 3, size=16), tmp_path / "events.pth")
    events = sd.import_model(tmp_path / "events.pth", T=T)
    with pytest.raises(ProgramError, match="takes events"):
        sd.compile(events, Policy(write_policy(tmp_path)))


def test_an_altered_policy_is_noticed(
    tmp_path: Path, graph: sd.SpikingGraph, images: np.ndarray
) -> None:
    program = sd.compile(graph, Policy(write_policy(tmp_path)))
    program.save(tmp_path / "build")
    with open(tmp_path / "build" / "policy.onnx", "ab") as file:
        file.write(b"x")
    with pytest.raises(ProgramError, match=r"policy\.onnx: the checksum differs"):
        sd.Program.load(tmp_path / "build")
    (tmp_path / "build" / "policy.onnx").unlink()
    with pytest.raises(ProgramError, match=r"policy\.onnx: missing"):
        sd.Program.load(tmp_path / "build")
    with open(tmp_path / "trained.onnx", "ab") as file:
        file.write(b"x")
    with pytest.raises(ProgramError, match="altered"):
        program.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_files_that_are_no_policy(tmp_path: Path) -> None:
    import onnx

    with pytest.raises(ValueError, match="cannot be read"):
        Policy(tmp_path / "none.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(ValueError, match="not a valid ONNX model"):
        Policy(tmp_path / "junk.onnx")
    stored = onnx.load(write_policy(tmp_path))
    stored.metadata_props[0].value = '{"T": 4}'
    onnx.save(stored, tmp_path / "half.onnx")
    with pytest.raises(ValueError, match=r"its metadata seenn_policy: .* field `choices`"):
        Policy(tmp_path / "half.onnx")


def plain(path: Path, **changes: Any) -> Path:
    """A policy network as any other tool writes it: without metadata, and a few more operators."""
    import onnx
    from onnx import helper, numpy_helper

    stored = onnx.load(write_policy(path.parent, **changes))
    del stored.metadata_props[:]
    nodes = stored.graph.node
    nodes[0].input[0] = "bounded"
    for name, value in (("low", 0.0), ("high", 0.9)):
        stored.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    nodes.insert(0, helper.make_node("Clip", ["image", "low", "high"], ["bounded"], name="bound"))
    onnx.save(stored, path)
    return path


def test_a_network_of_another_tool_has_one_score_an_exit(
    tmp_path: Path, graph: sd.SpikingGraph, images: np.ndarray
) -> None:
    rule = Policy(plain(tmp_path / "plain.onnx", choices=(1, 2, 3, 4)))
    assert (rule.choices, rule.T, rule.classes) == ((1, 2, 3, 4), 4, 0)
    assert rule.layers == tuple(forward.layer_sizes(described(choices=(1, 2, 3, 4)), SHAPE))
    sd.compile(graph, rule, schedule="pipelined").save(tmp_path / "build")
    program = sd.Program.load(tmp_path / "build")
    chosen = rule.steps(list(images))
    assert len(set(chosen)) > 1
    np.testing.assert_array_equal(sd.simulate(program, images).exit_step, chosen)
    network = lower(rule)  # what a Lava process runs
    assert network is not None
    np.testing.assert_array_equal(network.timesteps(images), chosen)
    with pytest.raises(ProgramError, match="for 3 timesteps, the program runs 4"):
        sd.compile(graph, Policy(plain(tmp_path / "three.onnx", choices=(1, 2, 4))))


def assert_read(path: Path, nodes: list[Any], constants: dict[str, Any], opset: int = 17) -> None:
    """A network over images (3, 5, 5) gives onnxruntime's four scores."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "policy",
        [helper.make_tensor_value_info("image", real, ["n", 3, 5, 5])],
        [helper.make_tensor_value_info("scores", real, ["n", 4])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, path)
    network = lower(Policy(path))
    assert network is not None
    x = np.random.default_rng(1).random((5, 3, 5, 5), np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"image": x})
    np.testing.assert_allclose(network.scores(x), expected, rtol=1e-4, atol=1e-3)


def test_operators_of_other_tools(tmp_path: Path) -> None:
    """Defaults that a file leaves out, factors of Gemm, constants on either side, pools."""
    from onnx import helper

    rng = np.random.default_rng(0)
    constants = {
        "scale": rng.random(3), "shift": rng.random(3), "mean": rng.random(3),
        "var": [1e-5, 1e-4, 1.0], "c": rng.random((3, 1, 1)), "d": 2 + rng.random(()),
        "weight": rng.normal(size=(12, 4)), "bias": rng.normal(size=4),
    }  # fmt: skip
    nodes = [
        helper.make_node("BatchNormalization", ["image", "scale", "shift", "mean", "var"], ["x1"]),
        helper.make_node("Sub", ["x1", "c"], ["x2"]),
        helper.make_node("Div", ["x2", "d"], ["x3"]),
        helper.make_node("Mul", ["c", "x3"], ["x4"]),
        helper.make_node("Add", ["x4", "d"], ["x5"]),
        helper.make_node("AveragePool", ["x5"], ["x6"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["x6"], ["x7"]),
        helper.make_node("Gemm", ["x7", "weight", "bias"], ["scores"], alpha=0.5, beta=3.0),
    ]
    assert_read(tmp_path / "net.onnx", nodes, constants)


def test_bounds_of_older_files_are_attributes(tmp_path: Path) -> None:
    from onnx import helper

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Clip", ["image"], ["x1"], min=0.4, max=0.6),
        helper.make_node("Flatten", ["x1"], ["x2"]),
        helper.make_node("Gemm", ["x2", "weight", "bias"], ["scores"]),
    ]
    constants = {"weight": rng.normal(size=(75, 4)), "bias": rng.normal(size=4)}
    assert_read(tmp_path / "net.onnx", nodes, constants, opset=10)


def test_networks_of_other_tools_that_are_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    path = plain(tmp_path / "plain.onnx")

    def refused(words: str, change: Callable[[Any], None], **more: Any) -> None:
        stored = onnx.load(path)
        change(stored.graph)
        onnx.save(stored, tmp_path / "bad.onnx", **more)
        with pytest.raises(ValueError, match=r"bad\.onnx: .*" + words) as error:
            Policy(tmp_path / "bad.onnx")
        assert str(error.value).count("bad.onnx") == 1

    def nan(graph: Any) -> None:
        broken = numpy_helper.to_array(graph.initializer[0]) * np.float32("nan")
        graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, graph.initializer[0].name))

    def softly(graph: Any) -> None:
        graph.node[-1].output[0] = "logits"
        graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["scores"], name="soft"))

    def two_at_once(graph: Any) -> None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2

    refused("holds NaN or infinity", nan)
    refused("Softmax node 'soft': .* logits are expected", softly)
    refused("does not run on one float32 image", two_at_once)
    apart = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.bin"}
    refused("its weights lie in other files", lambda graph: None, **apart)


def test_choices_lie_within_T(tmp_path: Path) -> None:
    stored = Policy(write_policy(tmp_path)).to_dict()
    json.dumps(stored)
    assert sd.exits.from_dict(stored).to_dict() == stored  # nothing is read: the bundle needs that
    with pytest.raises(ValueError, match=r"must lie in 1..T = 3"):
        sd.exits.from_dict(stored | {"T": 3})


@pytest.mark.parametrize("sizes", [0, 10**30])
def test_what_metadata_say_of_sizes_is_not_believed(tmp_path: Path, sizes: int) -> None:
    """They are what the policy's energy is made of."""
    path = write_policy(tmp_path)
    honest, model = Policy(path).layers, onnx.load(path)
    for entry in model.metadata_props:
        stored = json.loads(entry.value)
        entry.value = json.dumps(stored | {"layers": [[sizes] * 3]})
    onnx.save(model, path)
    assert Policy(path).layers == honest
