"""What a board's memory holds, and the refusal of programs that exceed it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from seenn_deploy.errors import ProgramError

CODE = 8 << 10  # kept free in flash: net.c takes about 3 kB on a Cortex-M, a start-up the rest
POLICY = 4 << 10  # as much more for a policy network, whose code is as large as that again
STACK = 2 << 10  # kept free in RAM; `stack.measured` says what a compiler makes of it
MOST_NAMED = 3  # layers in a refusal
_REMEDIES = {
    "flash": "fewer channels make the tables smaller",
    "ram": "fewer channels, or a stride in the first layers, make potentials and currents fewer",
}


@dataclass(frozen=True)
class Board:
    """A board's memory.

    Parameters
    ----------
    name : str
    flash, ram : int
        Bytes.
    source : str
        Where the numbers are from.
    """

    name: str
    flash: int
    ram: int
    source: str

    @classmethod
    def read(cls, board: str) -> Board:
        """The board of a name, or that of a JSON file with the same keys.

        Raises
        ------
        ProgramError
            When there is none, or its file is no board.
        """
        own = files(__package__).joinpath("budgets")
        known = sorted(p.name.removesuffix(".json") for p in own.iterdir() if p.is_file())
        try:
            place = own.joinpath(f"{board}.json") if board in known else Path(board)
            stored = json.loads(place.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ProgramError(
                f"board {board!r} does not exist; there are {', '.join(known)}; or name a JSON "
                "file with name, flash and ram in bytes, and source"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise ProgramError(f"{board}: no board's file ({error})") from None
        return cls._checked(board, stored)

    @classmethod
    def _checked(cls, board: str, stored: Any) -> Board:
        kinds = {"name": str, "flash": int, "ram": int, "source": str}
        for key, kind in kinds.items():
            value = stored.get(key) if isinstance(stored, dict) else None
            if type(value) is not kind or value in (0, "") or str(value).startswith("-"):
                what = "a number of bytes" if kind is int else "a text"
                raise ProgramError(f"{board}: {key} = {value!r}; a board's file has {what} there")
        return cls(*(stored[key] for key in kinds))

    def check(self, sizes: list[dict[str, Any]], policy: bool = False) -> None:
        """Raise ProgramError where a program does not fit, with by how much and what takes most.

        Parameters
        ----------
        sizes : list of dict
            By layer, and in sum, as ``sizes.table`` returns them.
        policy : bool
            Whether a policy network is among it.
        """
        total, layers, code = sizes[-1], sizes[:-1], CODE + (POLICY if policy else 0)
        needs = {"flash": (("tables",), code), "ram": (("state", "buffers"), STACK)}
        for memory, (kinds, kept) in needs.items():
            needed, there = sum(total[k] for k in kinds) + kept, getattr(self, memory)
            if needed <= there:
                continue
            by_size = sorted(layers, key=lambda row: -sum(row[k] for k in kinds))[:MOST_NAMED]
            most = ", ".join(f"{r['layer']} {sum(r[k] for k in kinds):,}" for r in by_size)
            raise ProgramError(
                f"board {self.name} has {there:,} bytes of {memory}, the program needs {needed:,} "
                f"({kept:,} of them kept for {'code' if memory == 'flash' else 'the stack'}): "
                f"{needed - there:,} too many; most take {most}; {_REMEDIES[memory]}"
            )
