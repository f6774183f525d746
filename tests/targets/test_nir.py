"""Programs as NIR files: the same graph back, the same spikes without the sidecar."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

pytest.importorskip("nir")
import nir

from seenn_deploy import targets
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.errors import ModelError, SeennError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.frontends import import_model
from seenn_deploy.graph import (
    Conv2d,
    Dense,
    Identity,
    Population,
    Projection,
    Readout,
    Source,
    SpikingGraph,
    Sum,
)
from seenn_deploy.loss_report import LossReport
from seenn_deploy.program import Program
from seenn_deploy.simulator.engine import simulate
from tests.random_graphs import Example, examples


def export(program: Program, folder: Path) -> Path:
    targets.write("nir", program, folder)
    return folder / "network.nir"


def findings(folder: Path, status: str) -> list[str]:
    report = LossReport.from_dict(json.loads((folder / "report.json").read_text()))
    return [f"{f.where}: {f.what}" for f in report.findings if f.status == status]


@settings(max_examples=60)
@given(examples())
def test_a_round_trip_is_the_identity(example: Example) -> None:
    program = compile(example.graph)
    with TemporaryDirectory() as folder:
        again = import_model(export(program, Path(folder)))
    assert compile(again).fingerprint == program.fingerprint


@settings(max_examples=60)
@given(examples())
def test_the_file_alone_gives_the_same_logits(example: Example) -> None:
    """Where NIR has a form for everything: hard reset, '>', starting at 0."""
    plain = [
        replace(n, reset="hard", reset_by=None, comparison=">", v_init=0.0)
        if isinstance(n, Population) else n
        for n in example.graph.order
    ]  # fmt: skip
    program = compile(example.graph.replace(plain))
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = export(program, folder)
        if findings(folder, "approximated"):
            return
        (folder / "network.nir.json").unlink()
        dt = 1e-4 if any(_leaks(n) for n in plain) else 1.0
        again = compile(import_model(path, T=program.T, dt=dt, coding=program.graph.source.coding))
    expected = simulate(program, example.images, threads=1)
    found = simulate(again, example.images, threads=1)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-5, atol=1e-5)


def _leaks(node: Any) -> bool:
    return isinstance(node, Population | Readout) and (
        node.tau < 1 or getattr(node, "tau_syn", 0) > 0
    )
