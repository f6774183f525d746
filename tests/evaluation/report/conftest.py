"""A shipped network's run and its report, made once for all tests of the folder."""

from __future__ import annotations

import pytest

import seenn_deploy as sd


@pytest.fixture(scope="session")
def program() -> sd.Program:
    graph = sd.import_model(sd.example().network, T=4, check=False)
    return sd.compile(graph, sd.exits.Confidence(0.9), schedule="speculative")


@pytest.fixture(scope="session")
def run(program: sd.Program) -> sd.RunResult:
    return sd.simulate(program, sd.example().images, full_trace=True)
