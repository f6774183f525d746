"""The C target on instruction sets of microcontrollers, which QEMU emulates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets import devices
from seenn_deploy.targets.c.devices import qemu_cortex_m4
from tests.targets.c.test_c import IMAGES, PROGRAM, written
from tests.targets.c.tools import needs

BOARDS = ["qemu-cortex-m3", "qemu-cortex-m4", "qemu-cortex-m7", "qemu-riscv32"]


@pytest.mark.parametrize("board", BOARDS)
def test_boards_are_equal_to_the_simulator(board: str) -> None:
    needs(board)
    report = sd.verify(PROGRAM, IMAGES, board)
    assert report.ok
    assert report.samples == len(IMAGES)
    assert sd.verify(PROGRAM, IMAGES[:1], board, full_trace=True).ok


def test_the_trained_network_on_a_cortex_m4() -> None:
    needs("qemu-cortex-m4")
    files = sd.example()
    program = sd.compile(sd.import_model(files.network, T=4), precision="int8")
    images = np.load(files.images)["x"][:2].transpose(0, 3, 1, 2) / np.float32(255)
    assert sd.verify(program, images, "qemu-cortex-m4").ok


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
