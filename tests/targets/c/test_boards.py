"""The C target on instruction sets of microcontrollers, which QEMU emulates."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets import devices
from seenn_deploy.targets.base import Request
from seenn_deploy.targets.c.budget import STACK
from seenn_deploy.targets.c.devices import qemu_cortex_m4
from seenn_deploy.targets.c.emulator import SEMIHOSTING
from seenn_deploy.targets.c.stack import LIBRARY, deepest
from tests.targets.c.test_c import IMAGES, PROGRAM, written
from tests.targets.c.test_families import events, sew, spikformer, vgg
from tests.targets.c.tools import needs

BOARDS = ["qemu-cortex-m3", "qemu-cortex-m4", "qemu-cortex-m7", "qemu-riscv32"]


@pytest.mark.parametrize("board", BOARDS)
def test_boards_are_equal_to_the_simulator(board: str) -> None:
    needs(board)
    report = sd.verify(PROGRAM, IMAGES, board)
    assert report.ok
    assert report.samples == len(IMAGES)
    assert re.fullmatch(r"stack: \d+ bytes at most; 2,048 are kept", report.notes[0])
    assert sd.verify(PROGRAM, IMAGES[:1], board, full_trace=True).ok


def test_the_trained_network_on_a_cortex_m4() -> None:
    needs("qemu-cortex-m4")
    files = sd.example()
    program = sd.compile(sd.import_model(files.network, T=4), precision="int8")
    images = np.load(files.images)["x"][:2].transpose(0, 3, 1, 2) / np.float32(255)
    assert sd.verify(program, images, "qemu-cortex-m4").ok


# --- the stack ---------------------------------------------------------------------------------

# Fills the stack below itself, calls, and looks how far down the bytes have changed.
PAINTED = """
#include <stdio.h>
#include "net.h"
enum { PAINTED = 8192 };
static net_t net;
static net_input_t input[NET_FRAMES * NET_FRAME_SIZE];
int main(void)
{
    register uint8_t *top __asm__("sp");
    volatile uint8_t *low = top - PAINTED;
    FILE *answer = fopen("answer.bin", "wb");
    for (uint32_t i = 0; i < sizeof input / sizeof input[0]; ++i) {
        input[i] = (net_input_t)(i * 37u % 200u);
    }
    for (uint32_t i = 0; i < PAINTED; ++i) {
        low[i] = 0xa5u;
    }
    (void)net_classify(&net, input, NET_FRAMES * NET_FRAME_SIZE);
    uint32_t untouched = 0;
    while (low[untouched] == 0xa5u) {
        ++untouched;
    }
    (void)fprintf(answer, "%lu", (unsigned long)(PAINTED - untouched));
    return fclose(answer);
}
"""


def test_a_run_takes_the_stack_that_was_told_and_no_more(tmp_path: Path) -> None:
    needs("qemu-cortex-m4")
    folder, work = written(PROGRAM, tmp_path / "build"), tmp_path / "work"
    board = qemu_cortex_m4.Device(folder)
    shutil.copytree(str(files("seenn_deploy.targets.c").joinpath("boards")), work)
    (work / "painted.c").write_text(PAINTED)
    sources = [folder / "net.c", folder / "weights.c", work / "painted.c"]
    subprocess.run(
        [board.tools[0], "-O2", f"-I{folder}", *board.options(work), *map(str, sources), "-o",
         str(work / "net.elf")], check=True,
    )  # fmt: skip
    command = [board.tools[1], *board.machine_options, *SEMIHOSTING, "-kernel", "net.elf"]
    subprocess.run(command, cwd=work, check=True)
    told, took = board.stack(work), int((work / "answer.bin").read_text())
    assert told - LIBRARY <= took + 64
    assert took <= told < STACK


@pytest.mark.parametrize("make", [vgg, sew, events, spikformer], ids=lambda m: m.__name__)
def test_the_stack_that_is_kept_is_enough(
    make: Callable[[Path], tuple[sd.Program, np.ndarray]], tmp_path: Path
) -> None:
    needs("qemu-cortex-m4")
    program, _ = make(tmp_path)
    board = qemu_cortex_m4.Device(written(program, tmp_path / "build"))
    assert LIBRARY < board.stack(tmp_path) < STACK


GRAPH = r"""
node: { title: "net_classify" label: "net_classify\nnet.c:1:2\n16 bytes (static)" }
node: { title: "a" label: "a\nnet.c:3:1\n100 bytes (static)" }
node: { title: "b" label: "b\nnet.c:9:1\n24 bytes (static)" }
node: { title: "memset" label: "__builtin_memset\n<built-in>" shape : ellipse }
edge: { sourcename: "net_classify" targetname: "a" }
edge: { sourcename: "net_classify" targetname: "b" }
edge: { sourcename: "b" targetname: "memset" }
edge: { sourcename: "a" targetname: "b" label: "net.c:5:1" }
"""


def test_stacks_without_a_bound_are_told() -> None:
    assert deepest(GRAPH, "net_classify") == 140
    assert deepest(GRAPH, "b") == 24
    for change, says in (
        ('edge: { sourcename: "b" targetname: "a" }', "a calls b calls a: the stack has no bound"),
        ('edge: { sourcename: "b" targetname: "__indirect_call" }', "has no bound"),
        ('edge: { sourcename: "a" targetname: "printf" }', "a calls printf, whose stack is not"),
        (r'node: { title: "c" label: "c\n8 bytes (dynamic)" }', "c: its stack frame is dynamic"),
    ):
        with pytest.raises(DeviceError, match=says):
            deepest(GRAPH + change + "\n", "net_classify")
    with pytest.raises(DeviceError, match="no other_classify"):
        deepest(GRAPH, "other_classify")


# --- what is missing ---------------------------------------------------------------------------


def test_boards_are_found_by_name() -> None:
    assert {"c", "lava", *BOARDS} <= set(devices.names())
    assert devices.find("qemu-cortex-m4").target == "c"
    with pytest.raises(DeviceError, match=r"qemu-cortex-m9.*there are: c, lava, qemu-cortex-m3"):
        devices.find("qemu-cortex-m9")


def test_a_missing_tool_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(PROGRAM, tmp_path / "build")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="apt-get install gcc-arm-none-eabi"):
        qemu_cortex_m4.Device(folder)
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        (tmp_path / tool).write_text("#!/bin/sh\necho no rdimon.specs >&2\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    with pytest.raises(DeviceError, match=r"(?s)lacks its C library .*libnewlib-arm-none-eabi"):
        qemu_cortex_m4.Device(folder).run(IMAGES[:1], Request())
