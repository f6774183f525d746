"""A kind of synapses or of nodes is one new file: found, compiled, run, stored and loaded again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy import ir, plugins
from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.verification.verify import verify
from tests import naive, naive_integer

RING = '''
"""Neurons in a ring, each reaching the next few, with one weight per distance."""

from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy.ir.maps.base import Synapses


@dataclass(frozen=True, eq=False)
class Ring(Synapses):
    """Source i reaches target i + k with weight[k]."""

    weight: np.ndarray
    step: int = 1

    def out_shape(self, in_shape):
        return in_shape

    def connections(self, in_shape):
        n = prod(in_shape)
        source, k = (a.ravel() for a in np.indices((n, len(self.weight))))
        return source, (source + self.step * k) % n, self.weight[k]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of kinds, forgotten after the test."""
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path))
    paths = {room: list(plugins.folders(room)) for room in ("ir/maps", "ir/nodes")}
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("seenn_deploy.ir."):
            del sys.modules[name]
    for room in paths:
        path = sys.modules[f"seenn_deploy.{room.replace('/', '.')}"].__path__
        path[:] = [p for p in path if not p.startswith(str(tmp_path))]


def written(folder: Path, room: str, name: str, text: str) -> None:
    (folder / room).mkdir(parents=True, exist_ok=True)
    (folder / room / f"{name}.py").write_text(text, encoding="utf-8")


# --- synapses ------------------------------------------------------------------------------------

EIGHTHS = np.array([3, -2, 5, 4], np.float32) / 8  # exact in any order of summation


def chain(ring: Any, first: Any = None) -> ir.SpikingGraph:
    """An image, twelve neurons, a ring of them with a loop, and four classes."""
    rng = np.random.default_rng(3)
    into, out = (rng.integers(-4, 6, size) / 8 for size in ((12, 12), (4, 12)))
    return ir.SpikingGraph(
        [
            ir.Source("image", (3, 2, 2), input_range=(0.0, 1.0)),
            ir.Population("first", (12,), tau=0.5, bias=np.full(12, 0.125)),
            ir.Population("ring", (12,), tau=1.0, reset="soft"),
            ir.Readout("logits", (4,)),
        ],
        [
            ir.Projection("image", "first", (first or ir.Dense(into),)),
            ir.Projection("first", "ring", (ring, ir.Affine(np.full(12, 0.5), np.zeros(12)))),
            ir.Projection("ring", "ring", (ring,), lag=1),
            ir.Projection("ring", "logits", (ir.Dense(out),)),
        ],
        6,
    )


def twin(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """The same graph with every ring written out, by loops that share nothing with the package."""
    return graph.replace(projections=[replace(e, maps=(_plain(e),)) for e in graph.projections])


def _plain(edge: ir.Projection) -> ir.Synapses:
    (ring,) = edge.maps
    if type(ring).__name__ != "Ring":
        return ring  # type: ignore[return-value]
    weight, targets, indptr = [], [], [0]
    for i in range(12):
        for k in range(len(ring.weight)):
            targets.append((i + k * ring.step) % 12)
            weight.append(ring.weight[k])
        indptr.append(len(targets))
    return ir.Sparse(np.array(indptr), np.array(targets, np.int32), np.array(weight), (12,))


def images() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 9, (7, 3, 2, 2)).astype(np.float32) / 8


def simulated_as(program: ir.Program, expected: Any) -> Any:
    run = sd.simulate(program, images(), record=True, full_trace=True)
    for name in ("first", "ring"):
        np.testing.assert_array_equal(run.spikes[name], expected.outputs[name] != 0)
        assert 0 < run.spikes[name].mean() < 1
    return run


def test_a_kind_of_synapses_in_one_file(folder: Path) -> None:
    written(folder, "ir/maps", "ring", RING)
    ring = ir.Ring(EIGHTHS, step=5)  # type: ignore[attr-defined]
    program = sd.compile(chain(ring))
    rings = [e.synapses for e in program.graph.projections if e.post == "ring"]
    assert [s.kind for s in rings] == ["sparse", "ring"]  # the affine map made a list of one
    expected = naive.run(twin(program.graph), images())
    run = simulated_as(program, expected)
    np.testing.assert_array_equal(run.logits, expected.logits)
    for name in ("ac", "mac", "ac_effective", "spikes", "updates_active"):
        np.testing.assert_array_equal(getattr(run.counts, name), expected.counts[name])
    layer = sd.inspect(program)[1]
    assert (layer.kind, layer.synapses) == ("sparse + ring t-1 loop", 2 * 12 * 4)

    program.save(folder / "program")
    load = f"import seenn_deploy as sd; p = sd.Program.load({str(folder / 'program')!r})\n"
    code = load + "print(p.fingerprint, p.graph.projections, sd.inspect(p)[1].kind)"
    environment = os.environ | {plugins.VARIABLE: str(folder)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True, env=environment)  # fmt: skip
    assert done.stdout.startswith(program.fingerprint)
    assert done.stdout.endswith("sparse + ring t-1 loop\n")
    del environment[plugins.VARIABLE]
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True,
                          check=False, env=environment)  # fmt: skip
    assert "kind 'ring' does not exist; there are affine, avg_pool2d, conv2d" in done.stderr


def test_a_kind_of_synapses_as_integers_and_on_lava(folder: Path) -> None:
    written(folder, "ir/maps", "ring", RING)
    ring = ir.Ring(EIGHTHS, step=5)  # type: ignore[attr-defined]
    program = sd.compile(chain(ring), precision="int8")
    (loop,) = (e.synapses for e in program.graph.projections if e.pre == e.post)
    assert loop.kind == "ring"
    assert loop.weight.dtype == np.int16
    expected = naive_integer.run(twin(program.graph), images())
    run = simulated_as(program, expected)
    np.testing.assert_array_equal(run.integer_logits, expected.logits)
    for name in ("first", "ring"):
        np.testing.assert_array_equal(run.v[name], expected.membrane[name])
    report = verify(program, images(), timeout=300)
    assert report.exact, report.first_differences


def test_what_a_kind_of_synapses_has_no_form_for_is_one_line(folder: Path) -> None:
    written(folder, "ir/maps", "ring", RING)
    ring = ir.Ring(EIGHTHS)  # type: ignore[attr-defined]
    graph = chain(ir.Identity(), ir.Dense(np.ones((12, 12))))
    edges = list(graph.projections)
    before = ir.Affine(np.ones(12), np.ones(12))
    edges[1] = replace(edges[1], maps=(before, ring))
    with pytest.raises(ModelError, match=r"^cannot scale the input of Ring$"):
        sd.compile(graph.replace(projections=edges))


def test_what_is_no_kind_is_one_line(folder: Path) -> None:
    written(folder, "ir/maps", "nothing", "class Nothing: pass\n")
    program = sd.compile(chain(ir.Dense(np.eye(12))))
    program.save(folder / "program")
    manifest = folder / "program" / "program.json"
    edited = manifest.read_text().replace('"kind": "dense"', '"kind": "nothing"')
    manifest.write_text(re.sub(r',\s*"checksum": ".*"', "", edited))
    with pytest.raises(ProgramError, match=r"nothing.py: it defines no child of Synapses"):
        ir.Program.load(folder / "program")


# --- nodes ---------------------------------------------------------------------------------------

REFRACTORY = '''
"""Neurons that stay silent for some timesteps behind each spike."""

from dataclasses import dataclass, field

import numpy as np

from seenn_deploy.ir.nodes.base import Node
from seenn_deploy.simulator.nodes import runner


@dataclass(frozen=True, eq=False)
class Refractory(Node):
    """Integrate and fire; hard reset, then `pause` timesteps in which currents are lost."""

    name: str
    shape: tuple
    pause: int = 2
    gains: np.ndarray = field(default_factory=lambda: np.ones(()))


class Running:
    def __init__(self, node, layer, kind, slots):
        self.node = node
        self.v = np.zeros((slots, *node.shape))
        self.left = np.zeros((slots, *node.shape), int)

    def begin(self, slots):
        self.v[slots], self.left[slots] = 0, 0

    def step(self, slots, current, events, counts):
        node = self.node
        arrived = events.plane.from_grid(current[slots])
        current[slots] = 0
        awake = self.left[slots] == 0
        v = np.where(awake, self.v[slots] + node.gains * arrived, 0)
        spikes = awake & (v > 1)
        self.v[slots] = np.where(spikes, 0, v)
        self.left[slots] = np.where(spikes, node.pause, np.maximum(self.left[slots] - 1, 0))
        events.put(slots, spikes)
        counts["spikes"][slots] = spikes.reshape(len(slots), -1).sum(axis=1)


runner.register(Refractory, Running)
'''


def refractory_graph() -> ir.SpikingGraph:
    """Images into neurons, those one by one into refractory ones, and two classes."""
    rng = np.random.default_rng(8)
    gains = np.array([[[0.5]], [[1.0]], [[2.0]]])
    return ir.SpikingGraph(
        [
            ir.Source("image", (3, 2, 2), input_range=(0.0, 1.0)),
            ir.Population("first", (3, 2, 2), tau=0.5),
            ir.Refractory("shy", (3, 2, 2), 1, gains),  # type: ignore[attr-defined]
            ir.Readout("logits", (2,)),
        ],
        [
            ir.Projection("image", "first", (ir.Identity(np.float32(1.5)),)),
            ir.Projection("first", "shy", (ir.Identity(np.float32(0.75)),)),
            ir.Projection("shy", "logits", (ir.Dense(rng.integers(-4, 5, (2, 12)) / 4),)),
        ],
        9,
    )


def refractory_logits(graph: ir.SpikingGraph, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (T, 2) and spikes (T,) of the refractory neurons, neuron by neuron."""
    weight = list(graph.projections)[-1].synapses.weight
    logits, spikes = np.zeros((graph.T, 2)), np.zeros(graph.T, int)
    for n, pixel in enumerate(image.ravel()):
        v = shy = 0.0
        silent = 0
        for t in range(graph.T):
            v = 0.5 * v + 1.5 * float(pixel)
            fired = v > 1
            v = 0.0 if fired else v
            if silent:
                silent -= 1
                continue
            shy += (0.5, 1.0, 2.0)[n // 4] * 0.75 * fired
            if shy > 1:
                shy, silent = 0.0, 1
                spikes[t] += 1
                logits[t:] += weight[:, n]
    return logits, spikes


def test_a_kind_of_nodes_in_one_file(folder: Path) -> None:
    written(folder, "ir/nodes", "refractory", REFRACTORY)
    graph = refractory_graph()
    program = sd.compile(graph)
    run = sd.simulate(program, images(), full_trace=True)
    expected = [refractory_logits(graph, image) for image in images()]
    np.testing.assert_array_equal(run.logits, [logits for logits, _ in expected])
    spikes = np.array([spikes for _, spikes in expected])
    assert 0 < spikes.sum() < spikes.size * 12 / 2
    np.testing.assert_array_equal(run.counts.spikes[:, 1], spikes)
    np.testing.assert_array_equal(run.counts.ac[:, 2], 2 * spikes)
    assert sd.inspect(program)[1].neuron == "refractory"

    program.save(folder / "program")
    code = (
        "import numpy as np, seenn_deploy as sd\n"
        f"p = sd.Program.load({str(folder / 'program')!r})\n"
        "x = np.random.default_rng(4).integers(0, 9, (7, 3, 2, 2)).astype(np.float32) / 8\n"
        "print(p.fingerprint, *sd.simulate(p, x, full_trace=True).logits.ravel())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=os.environ | {plugins.VARIABLE: str(folder)})  # fmt: skip
    fingerprint, *logits = done.stdout.split()
    assert fingerprint == program.fingerprint
    np.testing.assert_array_equal(np.array(logits, float), run.logits.ravel())


def test_what_has_no_form_for_a_kind_of_nodes_says_so(folder: Path) -> None:
    text = REFRACTORY[: REFRACTORY.index("class Running")].replace("Refractory", "Reticent")
    written(folder, "ir/nodes", "refractory", REFRACTORY)
    written(folder, "ir/nodes", "reticent", text)
    graph = refractory_graph()
    with pytest.raises(
        ModelError, match=r"^shy: int8 has no form for a refractory node .*float32, for targets"
    ):
        sd.compile(graph, precision="int8")
    program = sd.compile(graph)
    for target, line in (
        ("lava", "^shy: target lava has no form for a refractory node$"),
        ("nir", "NIR has no form for a refractory node"),
    ):
        with pytest.raises((ModelError, ProgramError), match=line):
            program.save(folder / target, targets=[target])
        assert not (folder / target).exists()
    line = "^shy: the torch engine has no form for a refractory node; leave out the device$"
    with pytest.raises(ProgramError, match=line):
        sd.simulate(program, images(), device="cpu", out=folder / "run")
    assert not (folder / "run").exists()
    shy = graph.node("shy")
    silent = ir.Reticent(shy.name, shy.shape)  # type: ignore[attr-defined]
    replaced = graph.replace([silent if n is shy else n for n in graph.order])
    with pytest.raises(ProgramError, match=r"^shy: the simulator has no form for a reticent node$"):
        sd.simulate(sd.compile(replaced), images())
