"""Over a cluster of processes: the same bits whoever computes, dies, joins late or is cut off."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli import cluster as command
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError, ProgramError, SeennError
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import write
from seenn_deploy.simulator import distribute
from seenn_deploy.verification.report import Difference, LayerReport, VerifyReport
from tests.io.test_shards import SHAPE, members, tar
from tests.targets.lava.graphs import edge, exact_weights, images, program, small

TESTED = program(small(), sd.exits.Confidence(0.5))
X, Y = images(TESTED.graph, 300), np.arange(300) % 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0",
                      silence_logs=50) as made:  # fmt: skip
        yield made


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as found:
        yield found


def same(a: sd.RunResult, b: sd.RunResult) -> None:
    np.testing.assert_array_equal(a.logits, b.logits)
    np.testing.assert_array_equal(a.exit_step, b.exit_step)
    for (name, x), (_, y) in zip(a.counts.items(), b.counts.items(), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)
    assert a.layers == b.layers and a.timing == b.timing
    for name in ("spikes", "v"):
        for layer, values in getattr(a, name).items():
            np.testing.assert_array_equal(values, getattr(b, name)[layer])


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("how", [{}, {"full_trace": True}, {"wasted": True}, {"record": True}])
def test_a_cluster_gives_the_same_bits(client: Client, precision: str, how: dict) -> None:
    tested = (
        TESTED if precision == "float32" else sd.compile(small(), precision="int8", calibration=X)
    )
    same(sd.simulate(tested, X, Y, client=client, **how), sd.simulate(tested, X, Y, **how))


def test_a_comparison_runs_on_a_cluster(client: Client) -> None:
    programs = {"a": TESTED, "b": TESTED.with_exit(sd.exits.Fixed())}
    assert sd.compare(programs, X, Y, client=client) == sd.compare(programs, X, Y)


def test_workers_run_torch_as_well(client: Client) -> None:
    tested = sd.compile(small(), precision="int8", calibration=X)
    same(sd.simulate(tested, X, Y, client=client, device="cpu"), sd.simulate(tested, X, Y))
    with pytest.raises(SeennError, match=r"^device cuda:7: (no GPU|GPUs)"):
        sd.simulate(tested, X, Y, client=client, device="cuda:7")


def test_images_are_read_where_they_lie_or_sent(
    client: Client, tmp_path: Path, monkeypatch
) -> None:
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    read = sd.simulate(TESTED, tmp_path / "x.npz", client=client)
    same(read, sd.simulate(TESTED, tmp_path / "x.npz"))
    sent: list[int] = []
    whole = distribute._sent
    monkeypatch.setattr(distribute, "_readable", lambda client, data: False)
    monkeypatch.setattr(
        distribute, "_sent", lambda data, rows: sent.append(len(rows)) or whole(data, rows)
    )
    same(sd.simulate(TESTED, tmp_path / "x.npz", client=client), read)
    assert sum(sent) == len(X) and max(sent) <= distribute.CHUNK


def test_lengths_and_shuffled_holes(client: Client, tmp_path: Path) -> None:
    plain = sd.simulate(TESTED, X, Y, out=tmp_path / "run")
    finished = np.lib.format.open_memmap(tmp_path / "run" / "finished.npy", "r+")
    finished[np.random.default_rng(0).permutation(300)[:140]] = False
    finished.flush()
    del finished
    same(sd.simulate(TESTED, X, Y, out=tmp_path / "run", resume=True, client=client), plain)


def test_a_client_that_dies_is_resumed(client: Client, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def cut(samples: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        sd.simulate(TESTED, X, Y, out=tmp_path / "run", client=client, progress=cut)
    finished = np.load(tmp_path / "run" / "finished.npy")
    assert 0 < finished.sum() < len(X)
    plain = sd.simulate(TESTED, X, Y)
    same(sd.simulate(TESTED, X, Y, out=tmp_path / "run", client=client, resume=True), plain)
    same(sd.RunResult.load(tmp_path / "run"), plain)


def test_a_worker_that_dies_and_one_that_joins_late(cluster: LocalCluster, client: Client) -> None:
    pids = list(client.run(os.getpid).values())
    done: list[int] = []

    def disturb(samples: int) -> None:
        if not done:
            os.kill(pids[0], signal.SIGKILL)
            cluster.scale(3)
        done.append(samples)

    many = np.concatenate([X, X])
    same(sd.simulate(TESTED, many, client=client, progress=disturb), sd.simulate(TESTED, many))
    assert sum(done) == len(many)


def test_what_fails_on_a_worker_is_one_line_here(
    client: Client, tmp_path: Path, monkeypatch
) -> None:
    bad = X.copy()
    bad[200, 0, 0, 0] = np.nan
    np.savez(tmp_path / "x.npz", x=bad, y=Y)
    with pytest.raises(DataError, match="200"):
        sd.simulate(TESTED, tmp_path / "x.npz", client=client)
    real = distribute.Job
    monkeypatch.setattr(distribute, "Job", lambda *a: replace(real(*a), version="0.0.1"))
    with pytest.raises(ProgramError, match=r"the client 0\.0\.1: use the same"):
        sd.simulate(TESTED, X, client=client)


def test_shards_are_read_by_workers_that_reach_them(client: Client, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [ir.Source("input", SHAPE), ir.Population("spikes", (8,)), ir.Readout("logits", (3,))]
    edges = [
        edge("input", "spikes", ir.Dense(exact_weights(rng, (8, 60)))),
        edge("spikes", "logits", ir.Dense(exact_weights(rng, (3, 8)))),
    ]
    tested = program(ir.SpikingGraph(nodes, edges, 2))
    memory = fsspec.filesystem("memory")  # each process has its own: workers cannot read it
    memory.mkdirs("/shards", exist_ok=True)
    for k in range(3):
        content = tar(members(range(2 * k, 2 * k + 2)))
        (tmp_path / f"{k}.tar").write_bytes(content)
        memory.pipe(f"/shards/{k}.tar", content)
    images = for_program(tested, tmp_path)
    plain = sd.simulate(tested, images)
    assert plain.labels is not None
    for where in (images, "memory://shards"):
        same(sd.simulate(tested, where, client=client), plain)
    (tmp_path / "1.tar").unlink()
    with pytest.raises(DataError, match=r"worker tcp.*1\.tar: cannot be read \(no such file\)"):
        sd.simulate(tested, images, client=client)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_devices_are_verified_on_workers(client: Client, tmp_path: Path) -> None:
    tested = sd.compile(small(), sd.exits.Confidence(0.5), precision="int8", calibration=X)
    build = tmp_path / "build"
    tested.save(build)
    plain = sd.verify(tested, X[:20], device="c")
    spread = sd.verify(tested, X[:20], device="c", client=client)
    assert plain.exact and replace(spread, device_seconds=plain.device_seconds) == plain
    # What the folder here holds is what workers run, wherever they are.
    write("c", tested, build)
    source = next(build.rglob("weights.c"))
    source.write_text(source.read_text() + "/* */")
    with pytest.raises(SeennError, match=r"weights\.c"):
        sd.verify(tested, X[:2], device="c", bundle=build, client=client)


def test_reports_of_parts_are_joined() -> None:
    layer = LayerReport("a", 10, 3, 1, 1, 1, 2)
    found = Difference(1, 2, "a", (0,), "tie", 0.1, 0.2, "spike", 0.0, 1.0)
    one = VerifyReport(
        "c", 2, (layer,), (found,), ((1, 1), (2, 2)), 1, 0.5, (3, 4), 1.5, notes=("c: gcc",),
        measured={"hops": 1.0}, counted={"hops": 1.0},
    )  # fmt: skip
    two = replace(one, max_logit_difference=0.75, notes=("c: gcc", "c: clang"))
    both = VerifyReport.joined([one, two])
    assert both.samples == 4 and both.layers == (LayerReport("a", 20, 6, 2, 2, 2, 4),)
    assert [d.sample for d in both.first_differences] == [1, 3]
    assert both.exit_steps == ((1, 1), (2, 2)) * 2 and both.hardware_steps == (3, 4, 3, 4)
    assert (both.wrong_logits, both.max_logit_difference, both.device_seconds) == (2, 0.75, 3.0)
    assert both.notes == ("c: gcc", "c: clang") and both.measured == {"hops": 2.0} == both.counted


def test_errors_travel() -> None:
    for kind in (SeennError, DataError, ProgramError):
        assert str(pickle.loads(pickle.dumps(kind("one line")))) == "one line"


class Empty:
    """A cluster whose workers are those of `nthreads`, with versions as told."""

    def __init__(self, workers: dict[str, Any]) -> None:
        self.workers, self.scheduler = workers, type("S", (), {"address": "tcp://a:1"})

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self.workers, 1)

    def get_versions(self, packages: list[str]) -> dict[str, Any]:
        (name,) = packages
        told = {a: v and {"packages": {name: v}} for a, v in self.workers.items()}
        return {"client": {"packages": {name: "1.0"}}, "workers": told}


def test_clusters_that_cannot_run_it_are_refused() -> None:
    for workers, words in (
        ({}, "no worker"), ({"tcp://b:2": "0.9"}, "has version 0.9, the client 1.0"),
        ({"tcp://b:2": None}, "has no seenn_deploy"),
    ):  # fmt: skip
        with pytest.raises(SeennError, match=words):
            distribute._check_workers(Empty(workers))


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PATIENCE", 1)
    TESTED.save(tmp_path / "build")
    np.savez(tmp_path / "x.npz", x=X[:100], y=Y[:100])
    words = ["simulate", str(tmp_path / "build"), "--data", str(tmp_path / "x.npz")]
    plain = CliRunner().invoke(seenn, words).output
    told = CliRunner().invoke(seenn, [*words, "--dask", "local:1"])
    assert told.output == plain and "accuracy" in plain
    for address, message in (
        ("local:0", "give 1 to"),
        ("nonsense", "no scheduler"),
        ("tcp://127.0.0.1:9", "no scheduler"),
    ):
        error = CliRunner().invoke(seenn, [*words, "--dask", address]).exception
        assert isinstance(error, SeennError) and message in str(error)
