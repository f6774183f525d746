"""Boards: what they hold, and the refusal of what they do not."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import seenn_deploy as sd
from seenn_deploy.errors import ProgramError, SeennError
from seenn_deploy.targets.c import sizes
from seenn_deploy.targets.c.budget import CODE, STACK, Board
from seenn_deploy.targets.c.refusal import check
from seenn_deploy.targets.c.write import _made, _sizes
from tests.targets.c.test_c import PROGRAM, built, seenn, written

BOARDS = ["esp32-c3", "esp32-c6", "nrf52840", "raspberry-pi-zero-2w", "rp2040", "rp2350",
          "stm32f407", "stm32f746", "stm32l432"]  # fmt: skip


@pytest.mark.parametrize("name", BOARDS)
def test_boards_say_where_their_numbers_are_from(name: str) -> None:
    board = Board.read(name)
    assert board.flash >= board.ram >= 64 << 10
    assert re.search("datasheet|specification|product brief", board.source)


def test_the_limit_is_exact(tmp_path: Path) -> None:
    _, source, rule = _made(PROGRAM)
    total = sizes.table(source, rule)[-1]
    flash, ram = total["tables"] + CODE, total["state"] + total["buffers"] + STACK

    def save(**less: int) -> None:
        board = {"name": "mine", "flash": flash, "ram": ram, "source": "a test"}
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(board | less))
        PROGRAM.save(tmp_path / "build", ["c"], options={"c": {"board": str(path)}}, force=True)

    save()
    for memory, size in (("flash", flash), ("ram", ram)):
        with pytest.raises(SeennError, match=rf"mine has .* bytes of {memory}.*: 7 too many; most"):
            save(**{memory: size - 7})


def test_the_refusal_says_what_would_help() -> None:
    """A timestep less takes two bytes less of tables; half of all weights, 0.7 of the channels."""

    def refused(flash: int, ram: int = 1 << 20) -> str:
        source, rows = _made(PROGRAM)[1], _sizes(PROGRAM, 4)
        with pytest.raises(ProgramError) as refusal:
            check(Board("mine", flash, ram, ""), source, rows, lambda T: _sizes(PROGRAM, T))
        return str(refusal.value)

    tables = _sizes(PROGRAM, 4)[-1]["tables"]
    assert _sizes(PROGRAM, 3)[-1]["tables"] == tables - 2
    assert "; T = 3 fits" in refused(tables + CODE - 1)
    assert "; T = 2 fits" in refused(tables + CODE - 4)
    assert "about 0.70 times the channels would fit; fewer timesteps" in refused(tables // 2 + CODE)
    assert "no width would fit" in refused(CODE)
    both = refused(CODE, STACK)
    assert "bytes of flash" in both and "bytes of ram" in both
    wide = [v for v in _made(PROGRAM)[1].potentials.values() if v == "int32"]
    assert f", which is not enough: {len(wide)} layers have wider ones" in both
    total = _sizes(PROGRAM, 4)[-1]
    assert ", and fit: " in refused(1 << 20, total["state"] + total["buffers"] + STACK - 1)


def test_ram_is_the_size_of_the_state(tmp_path: Path) -> None:
    """But for what a compiler adds for alignment."""
    _, source, rule = _made(PROGRAM)
    total = sizes.table(source, rule)[-1]
    folder = written(PROGRAM, tmp_path / "build")
    assert (
        f"these boards are large enough: {', '.join(BOARDS)}." in (folder / "README.md").read_text()
    )
    needed = total["state"] + total["buffers"]
    (folder / "size.c").write_text(
        '#include "net.h"\n'
        f"typedef char enough[sizeof(net_t) >= {needed} ? 1 : -1];\n"
        f"typedef char near[sizeof(net_t) <= {needed + 16} ? 1 : -1];\n"
        "int main(void)\n{\n    return (int)(sizeof(enough) + sizeof(near)) - 2;\n}\n"
    )
    assert subprocess.run(built(folder, "size.c"), check=False).returncode == 0


def test_a_board_too_small_writes_nothing(tmp_path: Path) -> None:
    done = seenn("compile", sd.example().network, "-T", "4", "--precision", "int8", "--target", "c",
                 "--board", "rp2040", "-o", tmp_path / "build", code=2)  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert "has 270,336 bytes of ram" in line
    assert "most take spike 173,824" in line
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]", "name = None"),
        ("{", "no board's file"),
        ('{"name": "x", "flash": true, "ram": 1, "source": ""}', "flash = True"),
        ('{"name": "x", "flash": 1, "ram": 0, "source": "y"}', "ram = 0"),
        ('{"name": "x", "flash": -1, "ram": 1, "source": "y"}', "flash = -1"),
        ('{"name": "x", "flash": 1, "ram": 1, "source": ""}', "source = ''"),
    ],
)
def test_a_file_that_is_no_board_is_one_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(ProgramError, match=says):
        Board.read(str(tmp_path / "mine.json"))
    with pytest.raises(ProgramError, match="there are esp32-c3, esp32-c6"):
        Board.read("arduino")
