"""Cost models: the figures that come with the package, by hand, and strict reading."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seenn_deploy import costs, ir
from seenn_deploy.costs.model import DERIVED, LayerSizes
from seenn_deploy.errors import DataError

MODELS = Path(costs.__file__).parent


def sizes(weights: list[int], potentials: list[int]) -> LayerSizes:
    return LayerSizes(np.array(weights), np.array(potentials), np.zeros(len(weights), np.int64))


def layers(**given: list[int]) -> LayerSizes:
    """Sizes of layers; what is not given is 1."""
    n = len(next(iter(given.values())))
    ones = {f.name: np.ones(n, np.int64) for f in fields(LayerSizes)}
    return LayerSizes(**{**ones, **{name: np.array(x) for name, x in given.items()}})


def counted(**values: int | list[int]) -> dict[str, np.ndarray]:
    """Counts of one sample with L layers; what is not given is zero."""
    n = max(len(np.atleast_1d(v)) for v in values.values())
    zeros = {name: np.zeros(n, np.int64) for name in costs.COUNTS}
    return zeros | {name: np.atleast_1d(v) for name, v in values.items()}


# --- the models that come with the package -----------------------------------------------------


def test_they_are_listed_and_none_has_a_figure_for_loihi_2() -> None:
    assert costs.names() == [
        "horowitz45-fp16", "horowitz45-int8", "horowitz45-int8-acc32", "lemaire", "loihi1",
        "memory", "memory-int8", "paper", "spikingjelly", "spikingjelly-lemaire",
    ]  # fmt: skip


@pytest.mark.parametrize("name", costs.names())
def test_every_price_has_a_source(name: str) -> None:
    model = costs.load(name)
    assert model.name == name and model.about
    assert model.sources.keys() == model.prices.keys()
    assert model.addressing_sources.keys() == model.addressing.keys()
    assert all([*model.sources.values(), *model.addressing_sources.values()])
    assert model.memory is None or all(model.memory.sources)


@pytest.mark.parametrize(
    ("name", "picojoules"),
    [
        ("paper", 10 * 0.9 + 3 * 4.6),
        ("horowitz45-fp16", 10 * 0.4 + 3 * 1.5),
        ("horowitz45-int8", 10 * 0.03 + 3 * 0.23),
        ("horowitz45-int8-acc32", 10 * 0.1 + 3 * 0.3),
        ("loihi1", 13 * 23.6 + 2 * 81 + 5 * 52 + 4 * 1.7),
        # all fits into 8 KiB: 13 fetches and 7 reads and writes of half an access of 10 pJ
        ("memory", 10 * 0.9 + 3 * 4.6 + 13 * 5 + 7 * 2 * 5),
        # weights of a byte: an eighth of an access; potentials: half of one
        ("memory-int8", 10 * 0.1 + 3 * 0.3 + 13 * 1.25 + 7 * 2 * 5),
        ("spikingjelly", 10 * 0.9 + 3 * 4.6 + (13 + 7 * 2) * 4 * 24.96),
    ],
)
def test_one_layer_by_hand(name: str, picojoules: float) -> None:
    counts = counted(ac=10, mac=3, updates_active=2, updates_inactive=5, spikes=4, resets=4)
    energy = costs.load(name).energy(counts, sizes([100], [100]))
    assert energy == pytest.approx(picojoules * 1e-12, rel=1e-12)


@pytest.mark.parametrize(
    ("words", "picojoules"),
    [
        (1, 5), (2048, 5), (2049, 10), (8192, 10), (8193, 50), (262144, 50), (262145, 50),
        (10**9, 50),
    ],
)  # fmt: skip
def test_a_memory_is_as_large_as_what_it_holds(words: int, picojoules: float) -> None:
    """2048 words of 32 bits fill 8 KiB, 8192 fill 32 KiB; above 1 MiB it is banked."""
    memory = costs.load("memory")
    fetch = memory.energy(counted(ac=1), sizes([words], [1]))
    assert fetch == pytest.approx((0.9 + picojoules) * 1e-12, rel=1e-12)
    update = memory.energy(counted(updates_inactive=1), sizes([1], [words]))
    assert update == pytest.approx(2 * picojoules * 1e-12, rel=1e-12)


def test_each_layer_pays_for_its_own_memory() -> None:
    counts = counted(ac=[1, 1], updates_active=[1, 1])
    both = costs.load("memory").layer_energy(counts, sizes([10, 5000], [5000, 10]))
    assert both == pytest.approx([(0.9 + 5 + 20) * 1e-12, (0.9 + 10 + 10) * 1e-12])


def test_hops_are_told_but_not_applied() -> None:
    assert costs.load("loihi1").not_applied == {"hop_east_west": 3.0, "hop_north_south": 4.0}


@pytest.mark.parametrize(
    ("name", "weights", "potentials", "inputs", "queue"),
    [
        # 13.2 pJ and 8.72e-5 pJ for each of four bytes a word
        ("lemaire", 13.2 + 2e6 * 8.72e-5, 13.2 + 400 * 8.72e-5, 13.2 + 16e3 * 8.72e-5, 13.5488),
        # in proportion between 0, 8 KiB, 32 KiB and 1 MiB, which is the end
        ("spikingjelly-lemaire", 100, 400 / 8192 * 10, 10 + (16e3 - 8192) / 24576 * 10, 4.8828125),
    ],
)
def test_lemaire_s_equations_on_one_layer(
    name: str, weights: float, potentials: float, inputs: float, queue: float
) -> None:
    """Seven spikes go to two layers, one of them a convolution; the neurons leak."""
    counts = counted(
        ac=10, mac=3, bias_adds=6, updates_active=2, updates_inactive=5, spikes=7, resets=7
    )
    one = layers(weights=[500_000], potentials=[100], inputs=[4000], events=[2], convolved=[1])
    operations = 0.1 * (10 + 6 + 7) + 3.2 * (3 + 7)
    addresses = 0.1 * 10 + 2 * 3.2 * 7
    fetches = (10 + 3 + 6) * weights + 3 * inputs
    states = 2 * (10 + 2 + 5) * potentials
    total = operations + addresses + fetches + states + 2 * 2 * 7 * queue
    assert costs.load(name).energy(counts, one) == pytest.approx(total * 1e-12, rel=1e-9)
    still = replace(one, leaks=np.array([0]))
    saved = costs.load(name).energy(counts, one) - costs.load(name).energy(counts, still)
    assert saved == pytest.approx(3.2e-12 * 7, rel=1e-9)


@pytest.mark.parametrize("name", costs.names())
def test_what_a_model_needs_of_the_layers_is_said(name: str) -> None:
    model, bare = costs.load(name), sizes([10], [10])
    derived = any(count in DERIVED for count in model.priced)
    assert bool(model.lacks(bare)) == derived
    if derived:
        with pytest.raises(DataError, match=f"cost model {name} needs what is not known of these"):
            model.layer_energy(counted(ac=1), bare)


@given(
    name=st.sampled_from(costs.names()),
    seed=st.integers(0, 2**32 - 1),
    lead=st.lists(st.integers(1, 3), max_size=2),
    n=st.integers(1, 4),
)
def test_energy_is_the_sum_over_everything_counted(
    name: str, seed: int, lead: list[int], n: int
) -> None:
    rng = np.random.default_rng(seed)
    counts = {c: rng.integers(0, 10**6, (*lead, n)) for c in costs.COUNTS}
    size = layers(
        **{key: list(rng.integers(1, 10**6, n)) for key in ("weights", "potentials", "inputs")},
        **{key: list(rng.integers(0, 3, n)) for key in ("events", "convolved", "leaks")},
    )
    stored = json.loads((MODELS / f"{name}.json").read_text())
    energy = costs.load(name).energy(counts, size)
    assert energy.shape == tuple(lead)
    for at in np.ndindex(*lead):
        total = 0.0
        for layer in range(n):
            here = {key: int(getattr(size, key)[layer]) for key in SIZES}
            for count in (*costs.COUNTS, *FOLLOWS):
                times = int(counts[count][(*at, layer)]) if count in counts else 0
                if count in FOLLOWS:
                    of = sum(int(counts[c][(*at, layer)]) for c in FOLLOWS[count])
                    times = of * here[count]
                total += times * naive_price(stored, count, here)
        assert energy[at] == pytest.approx(total * 1e-12, rel=1e-9)


SIZES = ("weights", "potentials", "inputs", "events", "convolved", "leaks")
FOLLOWS = {
    "events": ["spikes"], "convolved": ["spikes"], "leaks": ["updates_active", "updates_inactive"],
}  # fmt: skip


def naive_price(stored: dict[str, Any], count: str, here: dict[str, int]) -> float:
    """Picojoules of one operation, read off the file entry by entry."""
    total = 0.0
    for part in ("prices", "addressing"):
        total += stored.get(part, {}).get(count, {"pJ": 0})["pJ"]
    memory = stored.get("memory", {"traffic": {}})
    for place, words in memory["traffic"].get(count, {}).items():
        bits = memory["word_bits"]
        bits = bits[place] if isinstance(bits, dict) else bits
        held = (memory["queue_words"] if place == "queue" else here[place]) * bits / 8
        total += words * naive_access(memory, held) * bits / memory["access_bits"]
    return total


def naive_access(memory: dict[str, Any], held: float) -> float:
    if "line" in memory:
        return float(memory["line"]["pJ"] + memory["line"]["pJ_per_byte"] * held)
    below = None
    for level in memory["levels"]:
        if held <= level["bytes"]:
            if below is None or memory.get("between") != "linear":
                return float(level["pJ"])
            share = (held - below["bytes"]) / (level["bytes"] - below["bytes"])
            return float(below["pJ"] + share * (level["pJ"] - below["pJ"]))
        below = level
    return float(memory["levels"][-1]["pJ"])


# --- how large layers are ----------------------------------------------------------------------


def test_sizes_of_a_graph() -> None:
    """A shared kernel is stored once, an identity shortcut has one weight, pools have none."""
    graph = ir.SpikingGraph(
        [
            ir.Source("input", (2, 4, 4)),
            ir.Population("a", (3, 4, 4)),
            ir.Population("b", (3, 4, 4), tau=1.0),
            ir.Readout("out", (5,)),
        ],
        [
            ir.Projection("input", "a", (ir.Conv2d(np.ones((3, 2, 3, 3)), padding=(1, 1)),)),
            ir.Projection("a", "b", (ir.Conv2d(np.ones((3, 3, 1, 1))),)),
            ir.Projection("a", "b", (ir.Identity(),)),
            ir.Projection("b", "out", (ir.Dense(np.ones((5, 48))),), dense_macs=15),
        ],
        T=2,
    )
    found = LayerSizes.of(graph)
    assert found.weights.tolist() == [54, 9 + 1, 240]
    assert found.potentials.tolist() == [48, 48, 5]
    assert found.dense_macs.tolist() == [54 * 16, 9 * 16, 15]
    assert found.inputs is not None and found.events is not None and found.leaks is not None
    assert found.inputs.tolist() == [32, 48 + 48, 48]
    assert found.events.tolist() == [2, 1, 0], "a feeds b twice"
    assert found.convolved is not None and found.convolved.tolist() == [1, 0, 0]
    assert found.leaks.tolist() == [1, 0, 0], "b is made of IF neurons, a readout sums"
    assert {getattr(found, f.name).dtype for f in fields(LayerSizes)} == {np.dtype(np.int64)}


def test_a_sum_stores_nothing() -> None:
    shape = (3, 4, 4)
    graph = ir.SpikingGraph(
        [
            ir.Source("input", shape), ir.Population("a", shape), ir.Population("b", shape),
            ir.Sum("s", shape), ir.Readout("out", (5,)),
        ],
        [
            ir.Projection("input", "a", (ir.Identity(),)),
            ir.Projection("input", "b", (ir.Identity(),)),
            ir.Projection("a", "s", (ir.Identity(),)), ir.Projection("b", "s", (ir.Identity(),)),
            ir.Projection("s", "out", (ir.Dense(np.ones((5, 48))),)),
        ],
        T=2,
    )  # fmt: skip
    found = LayerSizes.of(graph)
    assert found.weights.tolist() == [1, 1, 0, 240]
    assert found.potentials.tolist() == [48, 48, 0, 5]


def test_sizes_keep_the_macs_of_the_trained_layers() -> None:
    import seenn_deploy as sd

    graph = ir.SpikingGraph(
        [ir.Source("input", (1, 4, 4)), ir.Population("a", (1, 4, 4)), ir.Readout("out", (2,))],
        [
            ir.Projection("input", "a", (ir.Conv2d(np.ones((1, 1, 1, 1), np.float32)),)),
            ir.Projection(
                "a", "out", (ir.AvgPool2d((4, 4)), ir.Dense(np.ones((2, 1), np.float32)))
            ),
        ],
        T=1,
    )
    found = LayerSizes.of(sd.compile(graph).graph)
    assert found.dense_macs.tolist() == [16, 2]
    assert found.weights.tolist() == [1, 2], "a pool's window shares its weights"


# --- a user's own file -------------------------------------------------------------------------


VALID: dict[str, Any] = {
    "name": "mine",
    "about": "a chip of my own",
    "prices": {"ac": {"pJ": 1, "source": "me"}, "mac": {"pJ": 2.5, "source": "me"}},
    "memory": {
        "about": "one memory",
        "access_bits": 32,
        "word_bits": 8,
        "levels": [
            {"bytes": 10, "pJ": 4, "source": "me"},
            {"bytes": 20, "pJ": 8, "source": "me"},
        ],
        "traffic": {"ac": {"weights": 1, "potentials": 0.5}},
    },
}


def changed(path: str, value: Any = None) -> dict[str, Any]:
    """VALID with the entry at a dotted path replaced, or removed where the value is None."""
    stored = copy.deepcopy(VALID)
    *way, last = [int(k) if k.isdigit() else k for k in path.split(".")]
    inner: Any = stored
    for key in way:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return stored


def written(folder: Path, stored: Any) -> Path:
    path = folder / "mine.json"
    path.write_text(stored if isinstance(stored, str) else json.dumps(stored))
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    model = costs.load(written(tmp_path, VALID))
    energy = model.energy(counted(ac=2, mac=1), sizes([10], [11]))
    # a byte of ten costs a quarter of 4 pJ, one of eleven a quarter of 8
    assert energy == pytest.approx((2 * (1 + 1 + 0.5 * 2) + 2.5) * 1e-12)


def test_the_name_of_a_shipped_model_wins_over_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    assert costs.load(str(path)).name == "mine"
    assert costs.load("paper").name == "paper"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("prices.ac", None, "the price of 'ac' is missing"),
        ("prices.mac", None, "the price of 'mac' is missing"),
        ("prices.ac.pJ", None, "the price of 'ac' is missing"),
        ("prices.ac.pJ", -0.1, "the price of 'ac' is -0.1 pJ; give a number, at least 0"),
        ("prices.ac.pJ", "1", "the price of 'ac' is '1' pJ"),
        ("prices.ac.pJ", True, "the price of 'ac' is True pJ"),
        ("prices.ac.pJ", float("nan"), "the price of 'ac' is nan pJ"),
        ("prices.ac.pJ", float("inf"), "the price of 'ac' is inf pJ"),
        ("prices.ac", 0.9, "the price of 'ac' is 0.9; give a JSON object"),
        ("prices.ac.source", None, "the price of 'ac' has no source"),
        ("prices.ac.source", " ", "the price of 'ac' has no source"),
        ("prices.ac.unit", "pJ", "a key 'unit' that means nothing"),
        ("prices.adds", {"pJ": 1, "source": "me"}, "prices 'adds', which is not counted; there"),
        ("prices", [1], r"'prices' is \[1\]; give a JSON object"),
        ("name", None, "has no 'name'"),
        ("name", 3, "'name' is 3; give a text"),
        ("price", {}, "a key 'price' that means nothing"),
        ("no_ann", 1, "'no_ann' is 1; give a text"),
        ("not_applied", {"hop": {"pJ": -3, "source": "x"}}, "the price of 'hop' is -3 pJ"),
        ("not_applied", {"hop": {"pJ": 3}}, "the price of 'hop' has no source"),
        ("memory.levels", None, "'memory' needs 'levels' or a 'line', and not both"),
        ("memory.line", {"pJ": 1, "pJ_per_byte": 1, "source": "me"}, "and not both"),
        ("memory.between", "log", "'between' is 'log'; give step or linear"),
        ("memory.queue_words", 5, "a queue in 'traffic' and 'queue_words' need each other"),
        ("memory.traffic.ac.queue", 1, "a queue in 'traffic' and 'queue_words' need each other"),
        ("addressing", {"adds": {"pJ": 1, "source": "me"}}, "addressing 'adds', which is not coun"),
        ("addressing", {"ac": {"pJ": 1}}, "the price of 'ac' has no source"),
        ("memory.levels", [], r"'levels' is \[\]; list memories"),
        ("memory.levels.0.source", None, "memory level 1.*has no 'source'"),
        ("memory.levels.0.pJ", -1, "the price of 'memory level 1' is -1 pJ"),
        ("memory.levels.1.bytes", 10, "memory levels of 10 and 10 bytes; smallest first"),
        ("memory.levels.1.bytes", 1.5, "'bytes' of memory level 2 is 1.5; give a whole number"),
        ("memory.access_bits", 0, "'access_bits' is 0; give a whole number, at least 1"),
        ("memory.word_bits", "8", "'word_bits' is '8'; give a whole number"),
        ("memory.word_bits", {"weights": 8}, "'word_bits' has weights; give weights, potentials"),
        ("memory.traffic.acs", {"weights": 1}, "traffic of 'acs', which is not counted"),
        ("memory.traffic.ac.spikes", 1, "traffic with a memory 'spikes'; there are weights, pot"),
        ("memory.traffic.ac.weights", -1, "'ac' moves -1 words; give a number, at least 0"),
    ],
)
def test_each_misfit_is_one_clear_line(tmp_path: Path, path: str, value: Any, message: str) -> None:
    file = written(tmp_path, changed(path, value))
    with pytest.raises(DataError, match=message) as found:
        costs.load(file)
    assert str(found.value).startswith(f"{file}: ")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"paper"', "\udcff"])
def test_what_is_no_cost_model_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"broken\.json: (not JSON|the cost model is)"):
        costs.load(path)


def test_no_such_model() -> None:
    with pytest.raises(DataError, match="'loihi2': no such file; there are horowitz45-fp16, horow"):
        costs.load("loihi2")
