from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from seenn_deploy import exits, ir
from seenn_deploy.compiler.passes import balance_delays
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.io import folders
from seenn_deploy.ir.program import WEIGHTS
from tests import random_graphs


def program(scale: float = 1.0, **options: Any) -> ir.Program:
    rng = np.random.default_rng(0)
    graph = ir.SpikingGraph(
        [
            ir.Source("input", (2, 2, 2)),
            ir.Population("p", (5,), tau=0.25, comparison=">="),
            ir.Population("q", (5,)),
            ir.Readout("out", (3,), np.float32([1, 2, 3])),
        ],
        [
            ir.Projection(
                "input", "p", (ir.Dense(rng.random((5, 8), np.float32) * np.float32(scale)),)
            ),
            ir.Projection("p", "out", (ir.Dense(rng.random((3, 5), np.float32)),), delay=1),
            ir.Projection("p", "q", (ir.Identity(),)),
            ir.Projection("q", "out", (ir.Dense(rng.random((3, 5), np.float32)),)),
        ],
        T=4,
        provenance={"source": "x.pth", "assumed": {"T": 4}},
    )
    return ir.Program(graph, **{"exit_rule": Confidence(0.7), **options})


def assert_same(a: Any, b: Any) -> None:
    """Equal dataclasses, arrays equal in value, shape and dtype."""
    assert type(a) is type(b)
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if f.name == "maps":
            for left, right in zip(x, y, strict=True):
                assert_same(left, right)
        elif isinstance(x, np.ndarray | np.generic):
            np.testing.assert_array_equal(x, y, err_msg=f.name)
            assert (x.shape, x.dtype) == (y.shape, y.dtype), f.name
        else:
            assert x == y, f.name


def assert_same_program(a: ir.Program, b: ir.Program) -> None:
    assert a.graph.T == b.graph.T
    for x, y in zip(a.graph.order, b.graph.order, strict=True):
        assert_same(x, y)
    for x, y in zip(a.graph.projections, b.graph.projections, strict=True):
        assert_same(x, y)
    assert (a.exit_rule, a.schedule, a.precision) == (b.exit_rule, b.schedule, b.precision)
    assert a.input_range == b.input_range
    assert a.graph.provenance == b.graph.provenance


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "gated", "input_range": (0.0, 1.0)},
        {"schedule": "pipelined", "exit_rule": Fixed()},
    ],
)
def test_round_trip(tmp_path: Path, options: dict[str, Any]) -> None:
    program(**options).save(tmp_path / "build")
    assert_same_program(ir.Program.load(tmp_path / "build"), program(**options))


@settings(max_examples=40)
@given(example=random_graphs.examples(real=True))
def test_any_graph_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, example: random_graphs.Example
) -> None:
    out = tmp_path_factory.mktemp("programs") / "build"
    saved = ir.Program(balance_delays.apply(example.graph), Fixed())
    saved.save(out)
    assert_same_program(ir.Program.load(out), saved)


def test_a_graph_whose_paths_do_not_meet_is_not_saved(tmp_path: Path) -> None:
    compiled = program().graph
    edges = [replace(edge, delay=0) for edge in compiled.projections]
    with pytest.raises(ProgramError, match="p -> out: a delay of 0 steps, where all paths meet"):
        ir.Program(compiled.replace(projections=edges), Fixed()).save(tmp_path / "build")
    assert not list(tmp_path.iterdir())


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    program().save(tmp_path / "a")
    ir.Program.load(tmp_path / "a").save(tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_our_folder_is_replaced_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "build"
    program().save(out)
    with pytest.raises(ProgramError, match=r"holds a program already.*--force"):
        program(scale=2.0).save(out)
    assert_same_program(ir.Program.load(out), program())
    program(scale=2.0).save(out, force=True)
    assert sorted(p.name for p in out.iterdir()) == ["program.json", WEIGHTS]
    assert_same_program(ir.Program.load(out), program(scale=2.0))
    assert [p.name for p in tmp_path.iterdir()] == ["build"]


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    program().save(tmp_path / "build")
    assert_same_program(ir.Program.load(tmp_path / "build"), program())


def test_a_link_to_our_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "build")
    program().save(tmp_path / "build")
    program(scale=2.0).save(tmp_path / "link", force=True)
    assert (tmp_path / "link").is_symlink()
    assert_same_program(ir.Program.load(tmp_path / "build"), program(scale=2.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["build", "link"]


@pytest.mark.parametrize(
    "content",
    [
        {"thesis.tex": "years of work"},
        {"program.json": '{"format": "something else"}'},
        {"program.json": "not json"},
        {"program.json": "[]"},
    ],
)
def test_a_foreign_folder_is_left_alone(tmp_path: Path, content: dict[str, str]) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    before = tree(tmp_path)
    with pytest.raises(ProgramError, match=r"mine: exists and was not written by seenn-deploy.*-o"):
        program().save(out)
    assert tree(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.write_text("a letter")
    with pytest.raises(ProgramError, match="is a file"):
        program().save(out)
    assert out.read_text() == "a letter"


@pytest.mark.parametrize("existing", [False, True])
def test_a_failing_write_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    if existing:
        program().save(tmp_path / "build")
    before = tree(tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(folders, "write_json", full_disk)
    with pytest.raises(OSError, match="No space left"):
        program(scale=2.0).save(tmp_path / "build", force=True)
    assert tree(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["build"] * existing


def test_a_rename_that_fails_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "build"
    program().save(out)
    before, rename = tree(tmp_path), Path.rename

    def fails_for_the_new_one(self: Path, target: Path) -> Path:
        if Path(target) == out and not self.name.endswith(".old"):
            raise OSError("Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="Input/output error"):
        program(scale=2.0).save(out, force=True)
    assert tree(tmp_path) == before


def test_altered_weights_are_noticed(tmp_path: Path) -> None:
    program().save(tmp_path / "build")
    path = tmp_path / "build" / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ProgramError, match=rf"{WEIGHTS}: the checksum differs.*compile .*again"):
        ir.Program.load(tmp_path / "build")


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"no program here.*seenn-compile"):
        ir.Program.load(tmp_path / "nowhere")
    program().save(tmp_path / "build")
    (tmp_path / "build" / WEIGHTS).unlink()
    with pytest.raises(ProgramError, match=rf"{WEIGHTS}: missing"):
        ir.Program.load(tmp_path / "build")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"format": "other"},
    ],
)
def test_other_versions_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    program().save(tmp_path / "build")
    manifest = tmp_path / "build" / folders.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(ProgramError, match=r"program.json: .*compile the model again"):
        ir.Program.load(tmp_path / "build")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"x"'])
def test_a_damaged_manifest(tmp_path: Path, text: str) -> None:
    program().save(tmp_path / "build")
    (tmp_path / "build" / folders.MANIFEST).write_text(text)
    with pytest.raises(ProgramError, match=r"program.json: .*compile the model again"):
        ir.Program.load(tmp_path / "build")


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m.pop("nodes"),
        lambda m: m.pop("projections"),
        lambda m: m.pop("exit_rule"),
        lambda m: m.pop("input_range"),
        lambda m: m.update(T=0),
        lambda m: m.update(T="4"),
        lambda m: m.update(schedule="yesterday"),
        lambda m: m.update(nodes=3),
        lambda m: m.update(provenance=3),
        lambda m: m.update(provenance=["x.pth"]),
        lambda m: m["provenance"].update(source=3),
        lambda m: m["provenance"].update(proof={"samples": 1}),
        lambda m: m["provenance"].update(pools=[1]),
        lambda m: m.update(exit_rule={"rule": "gut feeling"}),
        lambda m: m.update(exit_rule={"rule": "confidence", "alpha": 7}),
        lambda m: m.update(exit_rule={"rule": "confidence", "beta": 1}),
        lambda m: m.update(exit_rule="confidence"),
        lambda m: m["nodes"][0].update(kind="star"),
        lambda m: m["nodes"][1].update(shape=[6]),
        lambda m: m["nodes"][1].update(colour="red"),
        lambda m: m["nodes"][1].update(name="q"),
        lambda m: m["projections"][0].update(kind="hyper"),
        lambda m: m["projections"][0].update(post="q"),
        lambda m: m["projections"][0].update(key="q"),
        lambda m: m["projections"][0].pop("pre"),
    ],
)
def test_a_manifest_that_contradicts_itself(tmp_path: Path, damage: Any) -> None:
    program().save(tmp_path / "build")
    path = tmp_path / "build" / folders.MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["checksum"]  # as if somebody had edited it by hand, and knew
    damage(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ProgramError):
        ir.Program.load(tmp_path / "build")


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ProgramError, match="'later' does not exist; there are sequential"):
        program(schedule="later")


def test_with_exit_changes_nothing_else() -> None:
    changed = program().with_exit(exits.from_dict({"rule": "fixed"}))
    assert changed.exit_rule == Fixed()
    assert_same_program(changed.with_exit(Confidence(0.7)), program())
