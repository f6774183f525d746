"""What Lava's integers cannot hold is refused: layer, value, limit, in one line."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.entropy import Entropy
from seenn_deploy.ir.program import write
from seenn_deploy.targets.lava import ranges
from tests.targets.lava import graphs, integer_graphs


def node(name: str, **changes: Any) -> Callable[[ir.SpikingGraph], ir.SpikingGraph]:
    """A change of one node."""

    def change(graph: ir.SpikingGraph) -> ir.SpikingGraph:
        return graph.replace([replace(n, **changes) if n.name == name else n for n in graph.order])

    return change


def synapses(pre: str, post: str, value: Any) -> Callable[[ir.SpikingGraph], ir.SpikingGraph]:
    """A change of one edge: other synapses, or another first weight."""

    def change(graph: ir.SpikingGraph) -> ir.SpikingGraph:
        edges = []
        for edge in graph.projections:
            if (edge.pre, edge.post) == (pre, post):
                new = value if not np.isscalar(value) else _with_weight(edge.synapses, value)
                edge = replace(edge, maps=(new,))  # noqa: PLW2901
            edges.append(edge)
        return graph.replace(projections=edges)

    return change


def _with_weight(old: Any, value: float) -> Any:
    weight = old.weight.astype(np.result_type(old.weight.dtype, np.min_scalar_type(value)))
    weight.flat[0] = value
    return replace(old, weight=weight)


def identity(value: int) -> ir.Identity:
    return ir.Identity(np.asarray(value, np.int16))


def doubled() -> ir.Sparse:
    """Two synapses of one pair of neurons, each within the range, their sum not."""
    indptr = np.minimum(np.arange(49), 1) * 2
    return ir.Sparse(indptr, np.zeros(2, np.int32), np.full(2, 200, np.int16), (8,))


BIAS = np.zeros((3, 1, 1), np.int32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (node("first", v_threshold=131072.0), "first: threshold 131072: .* from 0 to 131071"),
        (node("first", v_threshold=-1.0), "first: threshold -1: "),
        (node("first", v_threshold=12.5), "first: threshold 12.5: .*whole numbers"),
        (node("first", v_init=8388608.0), "first: initial potential 8.38861e.06: .* to 8388607"),
        (node("first", tau=0.3), "first: tau 0.3: Lava's fixed_pt holds multiples of 1/4096"),
        (node("first", tau_syn=0.3), "first: tau_syn 0.3: .* multiples of 1/4096 from 0 to 1"),
        (node("logits", tau=0.3), "logits: tau 0.3: .* multiples of 1/4096 from 0 to 1"),
        (node("first", reset_by=12.5), "first: reset_by 12.5: .*whole numbers"),
        (node("first", reset_by=131072.0), "first: reset_by 131072: .* from 0 to 131071"),
        (node("first", reset_by=-1.0), "first: reset_by -1: "),
        (node("first", bias=BIAS + 4097), "first: bias 4097: .* mantissa of -4096 to 4095"),
        (node("first", bias=BIAS + (4096 << 7)), "first: bias 524288: "),
        (node("first", bias=BIAS + 0.5), "first: bias 0.5: .* whole numbers"),
        (node("logits", bias=np.full(4, 2**31)), "logits: bias 2147483648: .* 32 bits"),
        (node("input", scale=0.0), "input: scale 0.0: "),
        (node("input", scale=1e7), "input: inputs up to 1e.07: .* messages of 24 bits, 8388607"),
        (synapses("input", "first", 128), "input -> first: weight 128: .* -128 to 127"),
        (synapses("input", "first", 0.5), "input -> first: weight 0.5: .* whole numbers"),
        (synapses("first", "second", 256), "first -> second: weight 256: .* -256 to 254"),
        (synapses("first", "second", 7), "first -> second: weight 7: .* even numbers where"),
        (synapses("first", "second", doubled()), "first -> second: weight 400: .* 0 to 255"),
        (synapses("second", "logits", ir.Dense(np.full((4, 8), 256))), "weight 256: .* 0 to 255"),
        (synapses("second", "logits", ir.Dense(np.full((4, 8), -256))),
         "weight -256: .* -255 to 0"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, change: Callable[..., ir.SpikingGraph], says: str) -> None:
    program = integer_graphs.program(change(integer_graphs.small()))
    with pytest.raises(ProgramError, match=says) as raised:
        write("lava", replace(program, input_range=(0.0, 1.0)), tmp_path)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_an_identity_is_a_matrix_of_one_sign(tmp_path: Path) -> None:
    graph = integer_graphs.small()
    edge = graphs.edge("first", "again", identity(-256))
    nodes = [*graph.order, ir.Population("again", (3, 4, 4), v_threshold=1.0)]
    last = graphs.edge("again", "logits", ir.Dense(np.ones((4, 48), np.int16)))
    edges = [*graph.projections, edge, last]
    wide = integer_graphs.program(ir.SpikingGraph(nodes, edges, 4))
    with pytest.raises(ProgramError, match=r"first -> again: weight -256: .* -255 to 0"):
        write("lava", wide, tmp_path)


def doubling(times: int) -> ir.SpikingGraph:
    """Sums of a sum and itself, behind one neuron."""
    names = ["cell", *(f"sum{i}" for i in range(times))]
    nodes = [ir.Sum(name, (1,)) for name in names[1:]]
    pairs = itertools.pairwise(names)
    edges = [graphs.edge(a, b, ir.Identity()) for a, b in pairs for _ in range(2)]
    first = graphs.edge("input", "cell", ir.Dense(np.ones((1, 1), np.int16)))
    last = graphs.edge(names[-1], "logits", ir.Dense(np.ones((1, 1), np.int16)))
    ends = [ir.Source("input", (1,)), ir.Population("cell", (1,)), ir.Readout("logits", (1,))]
    return ir.SpikingGraph([*ends, *nodes], [first, *edges, last], 1)


def test_graded_spikes_fit_24_bits(tmp_path: Path) -> None:
    write("lava", integer_graphs.program(doubling(22)), tmp_path)
    with pytest.raises(ProgramError, match=r"sum22: sums up to 8.38861e.06: .* 24 bits, 8388607"):
        write("lava", integer_graphs.program(doubling(23)), tmp_path)


def test_sums_before_the_wrap_fit_32_bits(tmp_path: Path) -> None:
    weight = np.full((1, 20, 3, 3), 127, np.int8)
    graph = node("input", scale=8e6)(_one_convolution(weight, groups=1, channels=20))
    with pytest.raises(ProgramError, match=r"input -> wide: sums up to .*: .* 32 bits, 2147483647"):
        write("lava", replace(integer_graphs.program(graph), input_range=(0.0, 1.0)), tmp_path)


def test_a_convolution_that_becomes_a_list_may_not_wrap(tmp_path: Path) -> None:
    weight = np.full((130, 1, 3, 3), 127, np.int8)
    graph = node("input", scale=8e3)(_one_convolution(weight, groups=130, channels=130))
    program = integer_graphs.program(graph)
    with pytest.raises(ProgramError, match=r"sums up to 9.144e.06 in a list: .* 24 bits, 8388607"):
        write("lava", replace(program, input_range=(0.0, 1.0)), tmp_path)
    with pytest.raises(ProgramError, match="sums up to inf in a list"):
        write("lava", program, tmp_path)


def _one_convolution(weight: np.ndarray, groups: int, channels: int) -> ir.SpikingGraph:

    shape = (len(weight), 1, 1)
    nodes = [
        ir.Source("input", (channels, 3, 3)),
        ir.Population("wide", shape, v_threshold=1.0),
        ir.Readout("logits", (2,)),
    ]
    edges = [
        graphs.edge("input", "wide", ir.Conv2d(weight, groups=groups)),
        graphs.edge("wide", "logits", ir.Dense(np.ones((2, len(weight)), np.int16))),
    ]
    return ir.SpikingGraph(nodes, edges, 1)


def test_rules_and_scales_that_have_no_integers(tmp_path: Path) -> None:
    graph = integer_graphs.small()
    with pytest.raises(ProgramError, match="exit rule 'entropy' has no integer form"):
        write("lava", integer_graphs.program(graph, Entropy(0.5)), tmp_path)
    with pytest.raises(ProgramError, match=r"logit scale 0\.0 lies outside"):
        write("lava", integer_graphs.program(graph, Confidence(0.5), 0.0), tmp_path)


def test_inputs_that_leave_the_integers_are_refused_on_the_device(
    tmp_path: Path, lava: Path
) -> None:
    import subprocess

    program: ir.Program = integer_graphs.program(integer_graphs.small())
    (tmp_path / "bundle").mkdir()
    write("lava", program, tmp_path / "bundle")
    np.save(tmp_path / "x.npy", np.full((1, 2, 4, 4), 1e6, np.float32))
    done = subprocess.run(
        [str(lava), str(tmp_path / "bundle" / "run.py"), "--data", str(tmp_path / "x.npy"),
         "-o", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "values 1e+06 from 0, this program's integers end at" in done.stderr


@settings(deadline=None)
@given(st.lists(st.integers(-(2**13), 2**13), min_size=1, max_size=5), st.integers(0, 9))
def test_bias_parts(values: list[int], shift: int) -> None:
    bias = np.array(values, np.int32) << shift
    population = ir.Population("p", (len(values),), bias=bias)
    possible = [
        e for e in range(8)
        if all(v % 2**e == 0 and -4096 <= v // 2**e <= 4095 for v in bias.tolist())
    ]  # fmt: skip
    if not possible:
        with pytest.raises(ProgramError, match="p: bias"):
            ranges.bias_parts(population)
        return
    mantissa, exponent = ranges.bias_parts(population)
    assert exponent == possible[0]
    assert (mantissa.astype(np.int64) << exponent).tolist() == bias.tolist()
