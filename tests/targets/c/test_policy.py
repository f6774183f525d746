"""The integer policy network in C: equal to the slow oracle, on the host and on a Cortex-M4."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli.tables.devices import _verdict
from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network import writing
from seenn_deploy.targets.base import Request
from seenn_deploy.targets.c.budget import CODE, POLICY, Board
from seenn_deploy.targets.c.device import Device
from tests import naive_policy, random_policies
from tests.targets.c.test_c import failures, written
from tests.targets.c.tools import needs

EXAMPLES = Path(__file__).parents[3] / "examples"
T = 4


def program_of(network: Any, shape: tuple[int, ...], folder: Path, **source: Any) -> sd.Program:
    """A small integer program behind a policy network."""
    (folder / "policy.onnx").write_bytes(writing.to_onnx(network, shape, 3, T))
    nodes = [
        ir.Source("in", shape, input_range=(0.0, 1.0), **source),
        ir.Population("policy01", (3,), v_threshold=50, bias=np.zeros(3, np.int32)),
        ir.Readout("out", (3,), np.arange(3).astype(np.int32)),
    ]
    weights = np.ones((3, int(np.prod(shape))), np.int8), np.eye(3, dtype=np.int8)
    edges = [
        ir.Projection(pre.name, post.name, (ir.Dense(weight),))
        for pre, post, weight in zip(nodes, nodes[1:], weights, strict=False)
    ]
    graph = ir.SpikingGraph(nodes, edges, T)
    bare = sd.Program(graph, sd.exits.Fixed(), precision="int8")
    return bare.with_exit(Policy(folder / "policy.onnx"))


@settings(max_examples=8, deadline=None, phases=set(Phase) - {Phase.shrink})
@given(
    random_policies.networks(),
    st.sampled_from([(255.0, 0.0), (255.0, 128 / 255), (40.0, 0.5), (3000.0, -0.2)]),
    st.integers(0, 2**32 - 1),
)
def test_equal_to_the_oracle(tmp_path_factory, example, source, seed) -> None:
    network, shape = example
    folder = tmp_path_factory.mktemp("policy")
    program = program_of(network, shape, folder, scale=source[0], offset=source[1])
    images = np.random.default_rng(seed).random((4, *shape)).astype(np.float32)
    bundle = written(program, folder / "build")
    ran = Device(bundle).run(images, Request(record=True))
    whole = np.rint((images.astype(float) - source[1]) * source[0]).astype(np.int64)
    want = [naive_policy.scores(*program.policy.to_arrays(), x) for x in whole]
    assert ran.policy_scores is not None
    assert ran.policy_scores.tolist() == want
    assert ran.exit_step.tolist() == [random_policies.CHOICES[np.argmax(s)] for s in want]
    simulated = sd.simulate(program, images, record=True)
    np.testing.assert_array_equal(simulated.policy_scores, want)
    np.testing.assert_array_equal(simulated.exit_step, ran.exit_step)
    assert failures(bundle) == 0


@pytest.fixture(scope="module")
def seenn_ii() -> sd.Program:
    """The shipped network behind the shipped policy."""
    graph = sd.import_model(EXAMPLES / "resnet20_T4_cifar10.pth", T=T, check=False)
    rule = Policy(EXAMPLES / "policy_resnet20_cifar10.onnx")
    return sd.compile(graph, rule, precision="int8", pools="sum")


def images(number: int) -> np.ndarray:
    stored = np.load(EXAMPLES / "cifar10_200.npz")["x"][:number]
    return stored.transpose(0, 3, 1, 2) / np.float32(255)


@pytest.mark.parametrize(("device", "number"), [("c", 4), ("qemu-cortex-m4", 1)])
def test_the_shipped_network_with_seenn_ii(seenn_ii: sd.Program, device: str, number: int) -> None:
    if device != "c":
        needs(device)
    report = sd.verify(seenn_ii, images(number), device)
    assert report.ok
    assert dict(_verdict(report))["wrong policy scores"] == f"0 of {4 * number}"
    chosen = seenn_ii.exit_rule.steps(list(images(number)))
    assert [there for _, there in report.exit_steps] == chosen.tolist()


def test_its_memory_is_the_layers_own(seenn_ii: sd.Program, tmp_path: Path) -> None:
    rows = {}
    for name, rule in (("policy", seenn_ii.exit_rule), ("fixed", sd.exits.Fixed())):
        folder = written(seenn_ii.with_exit(rule), tmp_path / name)
        readme = (folder / "README.md").read_text()
        assert "these boards are large enough: raspberry-pi-zero-2w.\n" in readme
        assert ("With 12,288 bytes of flash" in readme) == (name == "policy")
        cells = [line.split("|")[1:-1] for line in readme.split("\n")]
        rows[name] = {
            c[0].strip(): [int(x.replace(",", "")) for x in c[1:]]
            for c in cells
            if len(c) == 4 and c[3].strip(" ,0123456789") == "" and c[3].strip()
        }
    tables, state, buffers = rows["policy"]["policy network"]
    assert 4940 < tables < 8000  # a byte for each of 4,940 weights, and constants of the channels
    assert state == 4 + 4 * 4
    assert 4096 <= buffers <= rows["fixed"]["in sum"][2]
    assert rows["policy"]["in sum"][2] == rows["fixed"]["in sum"][2]


def test_a_board_keeps_flash_for_its_code(tmp_path: Path, seenn_ii: sd.Program) -> None:
    total = {"layer": "in sum", "tables": 1000, "state": 0, "buffers": 0}
    board = Board("small", 1000 + CODE, 1 << 20, "a test")
    assert board.lacks(total) == []
    (lack,) = board.lacks(total, policy=True)
    assert (lack.memory, lack.needed - lack.there) == ("flash", POLICY)
    with pytest.raises(ProgramError, match=f"{CODE + POLICY:,} of them kept for code"):
        seenn_ii.save(tmp_path / "build", ["c"], options={"c": {"board": _board(tmp_path)}})


def _board(folder: Path) -> str:
    file = folder / "board.json"
    known = {"name": "tiny", "flash": 100_000, "ram": 1 << 20, "source": "a test"}
    file.write_text(json.dumps(known))
    return str(file)


def test_a_device_that_says_other_scores_is_found(tmp_path: Path, seenn_ii: sd.Program) -> None:
    x = images(2)
    folder = written(seenn_ii, tmp_path / "build")
    ran = Device(folder).run(x, Request(record=True, full_trace=True))
    simulated = sd.simulate(seenn_ii, x, record=True, full_trace=True)
    from seenn_deploy.verification.exact import ExactComparison

    def compared(**changes: Any) -> Any:
        other = replace(ran, **changes)
        return ExactComparison(seenn_ii, x, simulated, other, True).report("c", 0.0)

    assert compared().ok
    scores = ran.policy_scores.copy()
    scores[1, 2] += 1
    report = compared(policy_scores=scores)
    assert not report.ok and report.wrong_policy_scores == 1
    (first,) = report.first_differences
    assert (first.sample, first.layer, first.quantity) == (1, "policy network", "policy score")
    assert not compared(exit_step=1 + ran.exit_step % T).ok


def test_an_answer_without_scores_is_nonsense(tmp_path: Path, seenn_ii: sd.Program) -> None:
    from seenn_deploy.targets.c import protocol
    from seenn_deploy.targets.c.bundle import Bundle

    bundle = Bundle.read(written(seenn_ii.with_exit(sd.exits.Fixed()), tmp_path / "fixed"))
    with pytest.raises(DeviceError, match=r"nonsense: b'K'"):
        protocol.answer(bundle, b"K" + bytes(16), 1, Request())
