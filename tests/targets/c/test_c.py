"""The C target: compiled with sanitizers, run, and equal to the slow oracle of the integers."""

from __future__ import annotations

import math
import os
import re
import struct
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli.tables import devices
from seenn_deploy.compiler.passes import balance_delays
from seenn_deploy.errors import DeviceError, ProgramError, SeennError
from seenn_deploy.fidelity import RefusedError
from seenn_deploy.targets.base import Request
from seenn_deploy.targets.c import rules
from seenn_deploy.targets.c.compiler import STRICT, Compiler
from seenn_deploy.targets.c.device import Device
from seenn_deploy.targets.c.memory import Buffer, placed
from tests import naive_integer, random_graphs
from tests.simulator.test_integer import program_of, to_integers
from tests.targets.c.tools import needs
from tests.targets.lava import integer_graphs

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PROGRAM = replace(
    integer_graphs.program(integer_graphs.small(), sd.exits.Confidence(0.8)),
    schedule="sequential",
    input_range=(0.0, 1.0),
)
IMAGES = np.random.default_rng(1).random((4, 2, 4, 4)).astype(np.float32)


def written(program: sd.Program, folder: Path, **options: Any) -> Path:
    program.save(folder, ["c"], options={"c": options})
    return folder / "c"


def built(folder: Path, main: str, *flags: str) -> list[str]:
    """Compile a folder with every warning an error; return the command that runs it."""
    files = [str(folder / name) for name in ("net.c", "weights.c", main)]
    out = str(folder / "built")
    subprocess.run(["cc", *STRICT, *SANITIZERS, *flags, *files, "-o", out], check=True)
    return [out]


def failures(folder: Path) -> int:
    """What the folder's own test says."""
    done = subprocess.run(built(folder, "selftest.c"), capture_output=True, check=False)
    return done.returncode


@settings(max_examples=12, deadline=None)
@given(
    random_graphs.examples(),
    st.sampled_from([1, 1, 40, 3000]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_equal_to_the_oracle(tmp_path_factory, example, gain, limited, seed) -> None:
    graph = balance_delays.apply(to_integers(example.graph, gain, np.random.default_rng(seed)))
    streams = graph.source.coding == "events" and graph.source.scale == 1
    images = np.rint(example.images) if streams else example.images
    folder = written(program_of(graph, images, limited), tmp_path_factory.mktemp("c") / "build")
    ran = Device(folder).run(images, Request(record=True, full_trace=True))
    want = naive_integer.run(graph, images)
    np.testing.assert_array_equal(ran.integer_logits, want.logits)
    for node in graph.populations:
        np.testing.assert_array_equal(ran.spikes[node.name], want.outputs[node.name] != 0)
        np.testing.assert_array_equal(ran.v[node.name], want.membrane[node.name])
    # It computes what it expects by arithmetic of its own, on inputs that are made up.
    assert failures(folder) == 0


@pytest.mark.parametrize(
    "rule",
    [
        sd.exits.Confidence(0.8),
        sd.exits.Confidence(0.6, mean=True),
        sd.exits.Margin((0.5, 0.2, 0.1, np.inf)),
        sd.exits.Fixed(),
    ],
    ids=str,
)
def test_exits_are_the_simulator_s(rule: sd.exits.ExitRule) -> None:
    program = PROGRAM.with_exit(rule)
    report = sd.verify(program, IMAGES, "c")
    assert report.ok
    # Finer logits take longer tables of exponentials, which are stored as factors.
    assert sd.verify(replace(program, logit_scale=1 / 6400), IMAGES, "c").ok
    assert report.summary()["spikes_compared"] > 0
    if rule != sd.exits.Fixed():
        assert report.summary()["mean_exit_step"] < PROGRAM.T


def test_fine_logits_are_looked_up_without_their_lowest_bits() -> None:
    program = replace(PROGRAM, logit_scale=1e-7)
    assert sd.verify(program, IMAGES, "c").ok


@settings(max_examples=30)
@given(st.floats(1e-4, 0.2))
def test_large_tables_of_exponentials_are_products(scale: float) -> None:
    """The same units of 2^-24, out of a few thousand factors."""
    program = replace(PROGRAM, logit_scale=scale)
    units = program.integer_rule().tables[0]
    want = [round(2**24 * math.exp(-scale * d)) for d in range(len(units))]
    np.testing.assert_array_equal(units, want)
    found = rules._factored(scale, units)
    if found is None:
        assert len(units) < 300
        return
    assert [found.product(d) for d in range(len(units))] == want
    assert found.bytes < 8 * 3 * len(units) ** 0.5 + 32


def test_a_table_that_no_product_gives_stays_one() -> None:
    fine = replace(PROGRAM, logit_scale=1e-3).integer_rule().tables[0].copy()
    assert rules._factored(1e-3, fine) is not None
    fine[777] += 1
    assert rules._factored(1e-3, fine) is None


def test_a_full_trace_runs_behind_the_exit() -> None:
    assert sd.verify(PROGRAM, IMAGES, "c", full_trace=True).ok


def test_clang_and_gcc_agree() -> None:
    needs("clang")
    clang = sd.verify(PROGRAM, IMAGES, "c:clang")
    assert clang.ok
    assert not clang.notes
    assert sd.verify(PROGRAM, IMAGES, "c:gcc", flags="-O3 -funsigned-char").ok


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_32_bit_host_agrees(compiler: str) -> None:
    needs(f"{compiler} -m32")
    assert sd.verify(PROGRAM, IMAGES, f"c:{compiler}", flags="-m32").ok


def test_zig_agrees_and_says_what_it_leaves_out() -> None:
    needs("zig")
    report = sd.verify(PROGRAM, IMAGES, "c:zig")
    assert report.ok
    (note,) = report.notes
    assert re.fullmatch(r"left out: the address sanitizer, which .* lacks", note)
    assert report.summary()["notes"] == [note]
    assert tuple(note.split(": ")) in list(devices._verdict(report))


def test_zig_from_pypi_is_found_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no compiler is on the PATH, and only there."""
    (tmp_path / "ziglang").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "ziglang" not in Compiler.find().command
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Compiler.find().command == (sys.executable, "-m", "ziglang", "cc")


def test_a_compiler_without_sanitizers_is_used_and_told(tmp_path: Path) -> None:
    plain = tmp_path / "plain-cc"
    plain.write_text('#!/bin/sh\ncase "$*" in *-fsanitize=*) exit 1;; esac\nexec cc "$@"\n')
    plain.chmod(0o755)
    report = sd.verify(PROGRAM, IMAGES, f"c:{plain}")
    assert report.ok
    assert [note.split(",")[0] for note in report.notes] == [
        "left out: the address sanitizer",
        "left out: the undefined sanitizer",
    ]


def test_the_trained_example_through_the_command_line(tmp_path: Path) -> None:
    files, build = sd.example(), tmp_path / "build"
    seenn("compile", files.network, "-T", "4", "--precision", "int8", "--target", "c",
          "--c-prefix", "tiny", "-o", build)  # fmt: skip
    header = (build / "c" / "net.h").read_text()
    assert "tiny_step" in header
    assert "TINY_TIMESTEPS 4" in header
    assert "net_step" not in header
    done = seenn("verify", build, "--device", "c", "--data", files.images, "--limit", "2")
    assert "equal" in done.stdout


def seenn(*words: Any, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seenn_deploy", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_same_program_gives_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order of sets: of a program that is loaded, and of a model that is compiled."""
    PROGRAM.save(tmp_path / "build")
    script = (
        "import sys, seenn_deploy as sd\n"
        "sd.Program.load(sys.argv[1]).save(sys.argv[2] + '/loaded', ['c'])\n"
        "graph = sd.import_model(sd.example().network, T=2, check=False)\n"
        "sd.compile(graph, precision='int8').save(sys.argv[2] + '/compiled', ['c'])\n"
    )
    contents = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        out.mkdir()
        command = [sys.executable, "-c", script, str(tmp_path / "build"), str(out)]
        env = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(command, check=True, env=env, capture_output=True)
        files = [path for path in out.rglob("*") if path.is_file()]
        contents.append({str(p.relative_to(out)): p.read_bytes() for p in files})
    assert contents[0] == contents[1]
    assert sum("/c/" in name for name in contents[0]) == 20


# --- memory ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9), st.integers(0, 4)), max_size=12))
def test_buffers_of_one_time_never_overlap(sizes: list[tuple[int, int, int]]) -> None:
    buffers = [
        Buffer(f"b{i}", "int32", count, 4, first, first + length)
        for i, (count, first, length) in enumerate(sizes)
    ]
    at, total = placed(buffers)
    for a in buffers:
        assert at[a.name] % 8 == 0
        assert at[a.name] + 4 * a.count <= total
        for b in buffers:
            if a is not b and a.first <= b.last and b.first <= a.last:
                assert at[a.name] + a.bytes <= at[b.name] or at[b.name] + b.bytes <= at[a.name]


def test_layers_that_never_meet_share_memory(tmp_path: Path) -> None:
    nodes: list[Any] = [ir.Source("in", (4, 1, 1), scale=1.0)]
    edges = []
    for i in range(20):
        nodes.append(ir.Population(f"p{i}", (64,), v_threshold=9, bias=np.zeros(64, np.int32)))
        weight = np.ones((64, 4 if i == 0 else 64), np.int8)
        edges.append(ir.Projection(nodes[-2].name, f"p{i}", (ir.Dense(weight),)))
    nodes.append(ir.Readout("out", (2,), np.zeros(2, np.int32)))
    edges.append(ir.Projection("p19", "out", (ir.Dense(np.ones((2, 64), np.int8)),)))
    program = sd.Program(
        ir.SpikingGraph(nodes, edges, T=2), sd.exits.Fixed(), precision="int8", input_range=(0, 1)
    )
    text = (written(program, tmp_path / "build") / "README.md").read_text()
    shared = int(text.split("| in sum |")[1].split("|")[2].replace(",", ""))
    assert shared <= 64 + 2 * 8  # sums of one layer in bytes, and masks of two


# --- bad input ---------------------------------------------------------------------------------


def test_inputs_of_a_wrong_size_or_value_get_an_error_code(tmp_path: Path) -> None:
    folder = written(PROGRAM, tmp_path / "build")
    command = built(folder, "main.c")

    def said(*requests: bytes) -> bytes:
        return subprocess.run(
            command, input=b"".join(requests), capture_output=True, check=True
        ).stdout

    good = b"\0" + struct.pack("<I", 32) + bytes(range(32))
    answer = said(good)
    assert answer.startswith(b"L")
    assert answer[-13:-12] == b"A"
    refused = b"E" + struct.pack("<i", -1)
    assert said(b"\0" + struct.pack("<I", 31) + bytes(31), good) == refused + answer
    assert said(b"\0" + struct.pack("<I", 33) + bytes(33), good) == refused + answer
    assert said(good[:-1]) == refused
    assert said(good[:3]) == refused
    # Pixels are 0..200 steps of this source's scale.
    beyond = b"\0" + struct.pack("<I", 32) + bytes([201] * 32)
    assert said(beyond, good) == b"E" + struct.pack("<i", -2) + answer


def test_a_changed_folder_is_refused_and_fails_its_own_test(tmp_path: Path) -> None:
    folder = written(PROGRAM, tmp_path / "build")
    weights = folder / "weights.c"
    text = weights.read_text()
    at = text.index("_weight[")
    at = text.index("\n", at) + 5
    changed = text[:at] + "1 + " + text[at:]
    weights.write_text(changed)
    assert failures(folder) > 0
    with pytest.raises(ProgramError, match=r"weights\.c: its checksum differs"):
        Device(folder)


def test_a_network_without_neurons_runs_and_is_compared(tmp_path: Path) -> None:
    nodes = [
        ir.Source("in", (2, 3, 3), input_range=(0.0, 1.0), scale=255.0),
        ir.Readout("out", (3,), np.arange(3, dtype=np.int32)),
    ]
    weight = np.arange(54, dtype=np.int8).reshape(3, 18)
    graph = ir.SpikingGraph(nodes, [ir.Projection("in", "out", (ir.Dense(weight),))], 2)
    program = sd.Program(graph, sd.exits.Fixed(), precision="int8")
    images = np.random.default_rng(0).random((3, 2, 3, 3)).astype(np.float32)
    assert sd.verify(program, images, "c").ok
    assert failures(written(program, tmp_path / "build")) == 0


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    folder = written(PROGRAM, tmp_path / "build")
    (folder / "weights.h").unlink()
    with pytest.raises(ProgramError, match=r"weights\.h: is missing; renew"):
        Device(folder)


def test_a_changed_description_is_refused(tmp_path: Path) -> None:
    path = written(PROGRAM, tmp_path / "build") / "network.json"
    before = path.read_text()
    for change, says in (
        (('"T": 4', '"T": 5'), r"its checksum differs\); make it again$"),
        (('"version": 1', '"version": 9'), "version 9, this is"),
        (('"checksum"', '"sum"'), "network.json: is not what was written"),
        (("{", "["), "network.json: is not what was written"),
    ):
        path.write_text(before.replace(*change, 1))
        with pytest.raises(ProgramError, match=says):
            Device(path.parent)


def test_what_has_no_form_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="compile the model with --precision int8"):
        sd.compile(sd.import_model(sd.example().network, T=2)).save(tmp_path / "a", ["c"])
    nodes = [ir.Source("in", (2,)), ir.Filter("kept", (2,)), ir.Readout("out", (2,), np.zeros(2))]
    edges = [
        ir.Projection(pre.name, post.name, (ir.Dense(np.eye(2, dtype=np.float32)),))
        for pre, post in pairwise(nodes)
    ]
    real = sd.compile(ir.SpikingGraph(nodes, edges, 2))
    with pytest.raises(RefusedError, match=r"kept \(synapse filter, tau 0.5\) sends real values"):
        real.save(tmp_path / "a", ["c"])
    for prefix in ("2net", "my-net", "", "n" * 32):
        with pytest.raises(SeennError, match="is no C identifier"):
            PROGRAM.save(tmp_path / "b", ["c"], options={"c": {"prefix": prefix}})
    for prefix in ("uint8", "size", "int_fast16", "wint", "div"):
        with pytest.raises(SeennError, match=f"{prefix}_t is a type of C's own"):
            PROGRAM.save(tmp_path / "b", ["c"], options={"c": {"prefix": prefix}})
    assert not list(tmp_path.iterdir())


def test_a_prefix_without_the_target_is_refused(tmp_path: Path) -> None:
    done = seenn("compile", sd.example().network, "--c-prefix", "x", "-o", tmp_path / "x", code=2)
    assert "add --target c" in done.stderr


def test_a_missing_compiler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(PROGRAM, tmp_path / "build")
    with pytest.raises(DeviceError, match=r"no C compiler \(nocc\).*apt-get install gcc"):
        Device(folder, "nocc")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeviceError, match=r"no C compiler \(clang\).*apt-get install clang "):
        Device(folder, "clang")
    with pytest.raises(ProgramError, match="no C folder here"):
        Device(tmp_path)
