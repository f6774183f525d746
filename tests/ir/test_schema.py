"""Manifests with one value replaced, with and without their checksum; arrays of another kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from seenn_deploy.frontends.base import Net
from seenn_deploy.io.folders import MANIFEST, sha256
from seenn_deploy.ir.program import WEIGHTS

REPLACED: list[Any] = [
    None, True, -1, 0, 3, 0.5, 1e300, 10**30, float("nan"), float("inf"), "", "x", "conv2d", [],
    [3], [-1, 0], [[1]], {}, {"rule": "margin"},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with a convolution, a list of synapses, a loop, a shortcut and a folded pool."""
    rng = np.random.default_rng(0)
    net = Net(ir.Source("input", (2, 4, 4)), ir.Population("", ()))
    conv = ir.Conv2d(rng.normal(size=(3, 2, 3, 3)), padding=(1, 1))
    first = net.spike("first", ("input", (conv,)), bias=rng.normal(size=(3, 1, 1)))
    listed = ir.Sparse.listing(ir.Dense(rng.normal(size=(48, 48))), (3, 4, 4))
    again = ir.Sparse(listed.indptr, listed.targets, listed.weight, (3, 4, 4))
    second = net.spike("second", (first, (again,)), (first, (ir.Identity(),)))
    pooled = (ir.AvgPool2d((2, 2)), ir.Dense(rng.normal(size=(4, 12))))
    net.read_out("out", (second, pooled))
    graph = ir.SpikingGraph(net.nodes, net.projections, T=3)
    place = tmp_path_factory.mktemp("schema") / "program"
    sd.compile(graph, sd.exits.Conformal(0.9, (0.5, 1.0, float("inf")))).save(place)
    return place


def variants(value: Any) -> Iterator[Any]:
    """Every way to replace one value of nested dicts and lists."""
    for other in REPLACED:
        if type(other) is not type(value) or repr(other) != repr(value):
            yield other
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(min(len(value), 2)):
            for changed in variants(value[key]):
                copy = deepcopy(value)
                copy[key] = changed
                yield copy


def refusal(folder: Path) -> str | None:
    """What `load` says; it must be one line that names the folder."""
    try:
        sd.Program.load(folder)
    except ProgramError as error:
        text = str(error)
        assert "\n" not in text and str(folder) in text and len(text) < 1000, text
        return text
    return None


@pytest.fixture
def edited(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the program with another manifest or with other arrays, whose checksum is right."""

    def write(manifest: Any = None, **arrays: Any) -> Path:
        stored = json.loads((folder / MANIFEST).read_text()) if manifest is None else manifest
        save_file({**load_file(folder / WEIGHTS), **arrays}, tmp_path / WEIGHTS)
        if arrays:
            stored["sha256"] = {WEIGHTS: sha256(tmp_path / WEIGHTS)}
            del stored["checksum"]
        (tmp_path / MANIFEST).write_text(json.dumps(stored))
        return tmp_path

    return write


def test_no_value_can_be_replaced(folder: Path, edited: Callable[..., Path]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    for changed in variants(manifest):
        if isinstance(changed, dict):
            assert refusal(edited(changed)) is not None


def test_without_a_checksum_every_value_has_its_kind(
    folder: Path, edited: Callable[..., Path]
) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["checksum"]
    kinds = {"provenance": dict, "exit_rule_assumed": str}  # notes: what they say decides nothing
    for changed in variants(manifest):
        if isinstance(changed, dict) and refusal(place := edited(changed)) is None:
            (key,) = {k for k in manifest if repr(changed.get(k)) != repr(manifest[k])}
            assert key not in kinds or isinstance(changed[key], kinds[key])
            if key in ("own", "projections"):
                sd.simulate(sd.Program.load(place), np.ones((1, 2, 4, 4)), threads=1)


def test_what_to_do_after_editing(folder: Path, edited: Callable[..., Path]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text()) | {"schedule": "gated"}
    assert 'delete its line "checksum" to use it as you edited it' in str(refusal(edited(manifest)))
    del manifest["checksum"]
    assert sd.Program.load(edited(manifest)).schedule == "gated"


def test_edges_without_a_checksum(folder: Path, edited: Callable[..., Path]) -> None:
    """Each is a network that could be simulated, and would be another one."""
    stored = json.loads((folder / MANIFEST).read_text())
    del stored["checksum"]
    assert refusal(edited(stored)) is None
    cases: list[tuple[dict[str, Any], str]] = []
    for number in range(len(stored["projections"])):
        for key, value in (("delay", 1 << 70), ("delay", 3), ("lag", 1 << 70), ("lag", 1 << 21)):
            changed = deepcopy(stored)
            changed["projections"][number][key] = value
            cases.append((changed, "delay of 3" if value == 3 else f"projections[{number}].{key}"))
    (counted,) = [k for k, layers in enumerate(stored["own"]) if layers]
    emptied, inner = deepcopy(stored), deepcopy(stored)
    emptied["own"][counted] = []
    inner["own"][counted][0]["inputs"][0]["lag"] = 1 << 70
    cases += [
        (emptied, f"holds own/{counted}.0/fan_out, which nothing takes"),
        (stored | {"own": [None] * len(stored["own"])}, "which nothing takes"),
        (stored | {"own": []}, "which nothing takes"),
        (inner, f"own[{counted}][0].inputs[0].lag"),
    ]
    for changed, text in cases:
        assert text in str(refusal(edited(changed))), text


@pytest.mark.parametrize("depth", [2000, 200_000])
def test_deep_nesting(folder: Path, tmp_path: Path, depth: int) -> None:
    (tmp_path / MANIFEST).write_text('{"a":' * depth + "1" + "}" * depth)
    assert "not a program's manifest" in str(refusal(tmp_path))


def test_arrays_of_another_kind(folder: Path, edited: Callable[..., Path]) -> None:
    arrays = load_file(folder / WEIGHTS)
    assert refusal(edited()) is None
    (conv,) = [k for k, v in arrays.items() if v.ndim == 4]
    (listed,) = [k.removesuffix("/indptr") for k in arrays if k.endswith("/indptr")]
    broken = arrays[conv].copy()
    broken[0, 0, 0, 0] = np.nan
    for name, value, text in (
        (conv, broken, "holds NaN or infinity"),
        (conv, arrays[conv].astype(np.int8), "is int8 in a program of float32"),
        (conv, arrays[conv].astype(np.float64), "is float64 in a program of float32"),
        (conv, arrays[conv].astype(np.float16), "is float16 in a program of float32"),
        (conv, arrays[conv] > 0, "is bool in a program of float32"),
        (conv, arrays[conv][0], "do not fit 1 groups"),
        ("first/bias", np.array([np.inf, 0, 0], np.float32)[:, None, None], "NaN or infinity"),
        ("first/bias", np.zeros((7, 1, 1), np.float32), "does not fit"),
        (f"{listed}/targets", arrays[f"{listed}/targets"] + 1, "ends outside the 48 neurons"),
        (f"{listed}/targets", arrays[f"{listed}/targets"].astype(np.int64), "targets int32"),
        (f"{listed}/indptr", arrays[f"{listed}/indptr"][::-1].copy(), "list no synapses"),
        (f"{listed}/weight", arrays[f"{listed}/weight"][1:], "list no synapses"),
    ):
        assert text in str(refusal(edited(**{name: value}))), (name, text)
