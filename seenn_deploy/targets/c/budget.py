"""Boards: how much memory each has, and what a program lacks there."""

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
_OWN = files(__package__).joinpath("budgets")
KINDS = {"flash": ("tables",), "ram": ("state", "buffers")}


def kept_free(policy: bool) -> dict[str, int]:
    """Bytes of each memory that tables and state may not take; more of flash with a policy."""
    return {"flash": CODE + (POLICY if policy else 0), "ram": STACK}


@dataclass(frozen=True)
class Lack:
    """A memory of a board that is too small for a program.

    Parameters
    ----------
    memory : 'flash' or 'ram'
    needed, there : int
        Bytes, with those kept free.
    kept : int
        Bytes kept free, of flash for code and of RAM for the stack.
    """

    memory: str
    needed: int
    there: int
    kept: int

    def of(self, row: dict[str, Any]) -> int:
        """Bytes in this memory of a row of ``sizes.table``."""
        return sum(row[kind] for kind in KINDS[self.memory])


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

    @staticmethod
    def names() -> list[str]:
        """The boards that come with the target, by name."""
        return sorted(p.name.removesuffix(".json") for p in _OWN.iterdir() if p.is_file())

    @classmethod
    def read(cls, board: str) -> Board:
        """The board of a name, or that of a JSON file with the same keys.

        Raises
        ------
        ProgramError
            When there is none, or its file is no board.
        """
        known = cls.names()
        try:
            place = _OWN.joinpath(f"{board}.json") if board in known else Path(board)
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

    def lacks(self, total: dict[str, Any], policy: bool = False) -> list[Lack]:
        """Return the memories that are too small.

        Parameters
        ----------
        total : dict
            Bytes in sum, the last row of ``sizes.table``.
        policy : bool
            Whether a policy network is among it.
        """
        kept = kept_free(policy)
        found = []
        for memory, kinds in KINDS.items():
            needed = sum(total[kind] for kind in kinds) + kept[memory]
            if needed > getattr(self, memory):
                found.append(Lack(memory, needed, getattr(self, memory), kept[memory]))
        return found
