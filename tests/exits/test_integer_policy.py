"""Integer policy networks: equal to the slow oracle, near the float network, refused in a line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli.tables import programs
from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network import writing
from seenn_deploy.exits.policy_network.forward import Operation, PolicyNetwork
from seenn_deploy.exits.policy_network.integer import IntegerPolicy, rounded
from seenn_deploy.exits.policy_network.quantizing import Pixels, made_up, to_integers
from seenn_deploy.ir import policy as integer_policy
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.verification.precision import compare_precisions
from tests import naive_policy, random_policies

T, CALIBRATED = 4, 40
SOURCES = st.sampled_from([(255.0, 0.0), (255.0, 128 / 255), (40.0, 0.0), (2.5, -0.6)])


def pixels(shape: tuple[int, ...], scale: float, offset: float) -> Pixels:
    """Pixels 0..1 in the units of a source."""
    low, high = (int(np.rint((x - offset) * scale)) for x in (0.0, 1.0))
    return Pixels(shape, (low, high), scale, offset)


@settings(max_examples=60, deadline=None)
@given(random_policies.networks(), SOURCES, st.booleans(), st.integers(0, 2**32 - 1))
def test_equal_to_the_oracle(example, source, calibrated, seed) -> None:
    network, shape = example
    given_ = pixels(shape, *source)
    rng = np.random.default_rng(seed)
    samples = [rng.random((3, *shape))] if calibrated else None
    policy = to_integers(network, given_, samples)
    images = rng.integers(given_.limits[0], given_.limits[1] + 1, (3, *shape))
    found = policy.scores(images)
    stored, arrays = policy.to_arrays()
    stored = json.loads(json.dumps(stored))
    assert found.tolist() == [naive_policy.scores(stored, arrays, x) for x in images]
    # Everything that decides comes back, and every value stays within what it was proven for.
    again = IntegerPolicy.from_arrays(stored, arrays)
    assert again.scores(images[:0]).shape == (0, 3)
    np.testing.assert_array_equal(again.scores(images), found)
    assert integer_policy.fingerprint(again) == integer_policy.fingerprint(policy)
    assert again.timesteps(found).tolist() == [random_policies.CHOICES[s.argmax()] for s in found]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("calibrated", [True, False])
def test_scores_are_those_of_the_float_network_to_rounding(seed: int, calibrated: bool) -> None:
    """A residual network of all operations, on images that it was calibrated on."""
    net = random_policies.Building((3, 8, 8), np.random.default_rng(seed))
    net.affine()
    for groups in (1, 2):
        net.conv(4, 3, groups, padding=1, stride=1)
        net.affine()
        net.add("relu", (net.last,))
    before = net.last
    net.conv(4, 3, 1, padding=1, stride=1)
    net.add("add", (net.last, before))
    net.add("average", (net.last,), kernel=2)
    net.add("clip", (net.last,), {"low": np.float64(0), "high": np.float64(6)})
    net.dense(3)
    network = PolicyNetwork(tuple(net.operations), (1, 2, 4))
    source = pixels((3, 8, 8), 255.0, 128 / 255)
    images = made_up(source)
    policy = to_integers(network, source, [images] if calibrated else None)
    whole = np.rint((images - source.offset) * source.scale).astype(np.int64)
    want, found = network.scores(images), policy.scores(whole) * policy.unit
    assert np.abs(found - want).max() <= (0.05 if calibrated else 0.1) * np.abs(want).max()
    assert want.std() > 0.1 * np.abs(want).max(), "the images prove nothing"


@given(st.integers(-(2**52), 2**52), st.integers(0, 52))
def test_rounding_is_to_the_nearest_and_halves_go_away_from_zero(p: int, bits: int) -> None:
    found = int(rounded(np.ldexp(float(p), -bits) * np.ones(1))[0])
    assert abs(found * 2**bits - p) * 2 <= 2**bits
    if (p * 2) % 2 ** (bits + 1) == 2**bits and bits:
        assert abs(found) * 2**bits > abs(p)


# --- in programs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network and policy in int8, as a folder."""
    files = Path(__file__).parents[2] / "examples"
    rule = Policy(files / "policy_resnet20_cifar10.onnx")
    graph = sd.import_model(files / "resnet20_T4_cifar10.pth", T=T, check=False)
    images = np.load(files / "cifar10_200.npz")["x"][:CALIBRATED]
    program = sd.compile(graph, rule, precision="int8", calibration=images)
    program.save(out := tmp_path_factory.mktemp("program") / "build")
    return out


def told(program: sd.Program) -> str:
    """What the report says of the policy network."""
    found = program.provenance.precision["findings"]
    return "".join(f["by"] for f in found if f["where"] == "policy network")


def test_the_shipped_policy_chooses_as_in_float(build: Path) -> None:
    program = sd.Program.load(build)
    assert program.policy is not None
    data = for_program(program, Path(__file__).parents[2] / "examples" / "cifar10_200.npz")
    images = list(data.take(0, 60))
    chosen = program.policy.timesteps(program.policy_scores(images))
    floats = program.exit_rule.steps(images)
    assert (chosen == floats).sum() >= 56
    equal = (chosen == floats)[:CALIBRATED].sum()
    assert f"for {equal} of {CALIBRATED} images" in told(program)
    run = sd.simulate(program, images[:8], record=True)
    np.testing.assert_array_equal(run.exit_step, chosen[:8])
    np.testing.assert_array_equal(run.policy_scores, program.policy_scores(images[:8]))
    # Its MACs are those of the float network: one for each weight that meets a value.
    assert run.summary()["policy_mac"] == program.exit_rule.dense_macs == 864320


def test_reports_say_how_many_choices_are_as_in_float(build: Path) -> None:
    program, files = sd.Program.load(build), Path(__file__).parents[2] / "examples"
    graph = sd.import_model(files / "resnet20_T4_cifar10.pth", T=T, check=False)
    x = np.load(files / "cifar10_200.npz")["x"][:4].transpose(0, 3, 1, 2) / np.float32(255)
    rule = replace(program.exit_rule, choices=(1, 1, 1, 1))  # so that one of them differs
    for reference, equal in (
        (program.exit_rule, 4),
        (rule, (program.exit_rule.steps(x) == 1).sum()),
    ):
        changes = compare_precisions(sd.compile(graph, reference), program, x)
        assert changes.policy_choices_equal == changes.summary()["policy_choices_equal"] == equal
        rows = dict(programs._quantized_rows(program, changes))
        assert rows["policy network"] == f"chooses as in float for {equal} of 4"
    assert equal < 4
    without = program.with_exit(sd.exits.Fixed())
    assert compare_precisions(sd.compile(graph), without, x[:1]).policy_choices_equal is None


def test_a_program_keeps_it_and_notices_changes(build: Path, tmp_path: Path) -> None:
    program = sd.Program.load(build)
    program.save(tmp_path / "again")
    file = tmp_path / "again" / integer_policy.FILE
    assert file.read_bytes() == (build / integer_policy.FILE).read_bytes()
    assert sd.Program.load(tmp_path / "again").made_for == program.made_for
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    with pytest.raises(ProgramError, match=r"policy\.safetensors: the checksum differs"):
        sd.Program.load(tmp_path / "again")


def test_programs_of_before_ask_the_float_network(build: Path, tmp_path: Path) -> None:
    program = replace(sd.Program.load(build), policy=None)
    program.save(tmp_path / "old")
    loaded = sd.Program.load(tmp_path / "old")
    assert loaded.policy is None and not (tmp_path / "old" / integer_policy.FILE).exists()
    images = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    run = sd.simulate(loaded, images, record=True)
    assert run.policy_scores is None
    np.testing.assert_array_equal(run.exit_step, loaded.exit_rule.steps(list(images)))
    # Given again, the network gets its integers.
    assert loaded.with_exit(loaded.exit_rule).policy is not None
    with pytest.raises(ProgramError, match="before policy networks had integers"):
        loaded.save(tmp_path / "c", ["c"])


def test_other_rules_leave_it_and_the_same_rule_keeps_it(build: Path) -> None:
    program = sd.Program.load(build)
    other = program.with_exit(sd.exits.Fixed())
    assert other.policy is None and not told(other)
    again = other.with_exit(program.exit_rule)
    assert again.policy is not None and "made-up" in told(again)
    assert program.with_exit(program.exit_rule).policy is program.policy
    assert program.with_schedule("pipelined").policy is program.policy
    with pytest.raises(ProgramError, match="the integer policy network is another one's"):
        replace(program, exit_rule=replace(program.exit_rule, sha256="0" * 64))


# --- bad input ---------------------------------------------------------------------------------


def written(path: Path, *operations: Operation, shape: tuple[int, ...] = (2, 6, 6)) -> Policy:
    network = PolicyNetwork(operations, (1, 2, 3, 4))
    path.write_bytes(writing.to_onnx(network, shape, 3, T))
    return Policy(path)


def program(shape: tuple[int, ...] = (2, 6, 6)) -> sd.Program:
    nodes = [
        ir.Source("in", shape, scale=255.0, offset=0.0, input_range=(0.0, 1.0)),
        ir.Readout("out", (3,), np.zeros(3, np.int32)),
    ]
    weight = np.ones((3, int(np.prod(shape))), np.int8)
    edge = ir.Projection("in", "out", (ir.Dense(weight),))
    return sd.Program(ir.SpikingGraph(nodes, [edge], T), sd.exits.Fixed(), precision="int8")


def dense(of: int, ins: int, value: float = 1.0) -> Operation:
    return Operation("dense", (of,), {"weight": np.full((4, ins), value)})


def test_what_has_no_integer_form_is_refused_in_a_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    by_pixel = {"scale": rng.random((2, 6, 6)), "shift": np.ones((2, 6, 6))}
    rule = written(tmp_path / "a.onnx", Operation("affine", (0,), by_pixel), dense(1, 72))
    with pytest.raises(ProgramError, match=r"a\.onnx: .*Mul node 'value1/scaled': its constants"):
        program().with_exit(rule)
    pooled = Operation("average", (0,))
    rule = written(tmp_path / "b.onnx", pooled, Operation("add", (1, 0)), dense(2, 72))
    with pytest.raises(ProgramError, match=r"Add node 'value2': adds results of shapes"):
        program().with_exit(rule)
    (tmp_path / "b.onnx").unlink()
    with pytest.raises(ProgramError, match=r"b\.onnx: cannot be read|b\.onnx: no such file"):
        program().with_exit(rule)


def test_sums_beyond_32_bits_are_refused_with_what_they_reach() -> None:
    shape = (3, 160, 160)
    network = PolicyNetwork((dense(0, 3 * 160 * 160),), (1, 2, 3, 4))
    with pytest.raises(ModelError, match=r"dense.*sums reach 2487168000, which takes more than 32"):
        to_integers(network, Pixels(shape, (0, 255), 255.0, 0.0))


def test_descriptions_that_are_no_network() -> None:
    """What a folder says is checked again when it is read: sums, shapes, types."""
    net = random_policies.Building((2, 5, 5), np.random.default_rng(0))
    net.conv(4, 3, 2, padding=1, stride=2)
    net.add("average", (net.last,), kernel=0)
    net.dense(3)
    network = PolicyNetwork(tuple(net.operations), (1, 2, 4))
    stored, arrays = to_integers(network, Pixels((2, 5, 5), (0, 255), 255.0, 0.0)).to_arrays()

    def refused(words: str, changed: dict[str, Any], **more: np.ndarray) -> None:
        first = stored["operations"][0] | changed.pop("first", {})
        changed = {**stored, "operations": [first, *stored["operations"][1:]], **changed}
        with pytest.raises(ValueError, match=words):
            IntegerPolicy.from_arrays(
                changed, arrays | {k.replace("_", "/"): v for k, v in more.items()}
            )

    options = stored["operations"][0]["options"]
    refused("there are conv2d", {"first": {"kind": "pool"}})
    refused("1 earlier results", {"first": {"of": [1]}})
    refused("1 earlier results", {"first": {"of": [0, 0]}})
    refused("in 3 groups", {"first": {"options": options | {"groups": 3}}})
    refused("makes", {"first": {"options": options | {"padding": 1 << 20}}})
    refused("behind a shift of 53", {"first": {"options": options | {"shift": 53}}})
    refused("takes more than 8 bits", {"limits": [-1, 255]})
    refused("with values", {"limits": [3, 2]})
    refused("scores", {"choices": [1, 2]})
    refused("from 1", {"choices": [0, 1, 2]})
    refused("of images", {"shape": [2, 5]})
    refused("weight of int8", {}, policy_0_weight=np.zeros((4, 1, 3, 3), np.int16))
    refused("bias of shape", {}, policy_0_bias=np.zeros(3, np.int32))
    refused("more than 32 bits", {}, policy_0_bias=np.full(4, 2**31 - 1, np.int32))
