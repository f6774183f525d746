"""The refusal of programs that a board cannot hold: by how much, which layers, what would help."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import prod, sqrt
from typing import Any

from seenn_deploy.errors import ProgramError, SeennError
from seenn_deploy.targets.c.budget import Board, Lack
from seenn_deploy.targets.c.source import Source

MOST_NAMED = 3  # layers in a refusal
Rows = list[dict[str, Any]]


def check(board: Board, source: Source, rows: Rows, sizes: Callable[[int], Rows]) -> None:
    """Raise ProgramError where a board has too little memory for a program.

    Parameters
    ----------
    board : Board
    source : Source
    rows : list of dict
        ``sizes.table`` of the program as it is.
    sizes : callable
        The same with so many timesteps, for what would help.
    """
    lacks = board.lacks(rows[-1], policy=source.policy is not None)
    if lacks:
        told = ". ".join(_told(board, lack, rows, _remedies(source, lack, sizes)) for lack in lacks)
        raise ProgramError(told)


def _told(board: Board, lack: Lack, rows: Rows, remedies: list[str]) -> str:
    by_size = sorted(rows[:-1], key=lambda row: -lack.of(row))[:MOST_NAMED]
    most = ", ".join(f"{row['layer']} {lack.of(row):,}" for row in by_size)
    return (
        f"board {board.name} has {lack.there:,} bytes of {lack.memory}, the program needs "
        f"{lack.needed:,} ({lack.kept:,} of them kept for "
        f"{'code' if lack.memory == 'flash' else 'the stack'}): {lack.needed - lack.there:,} too "
        f"many; most take {most}; {'; '.join(remedies)}"
    )


def _remedies(source: Source, lack: Lack, sizes: Callable[[int], Rows]) -> list[str]:
    found = [_width(lack), _timesteps(source.program.T, lack, sizes)]
    if lack.memory == "ram":
        found.append(_potentials(source, lack.needed - lack.there))
    return [text for text in found if text]


def _width(lack: Lack) -> str:
    """Of tables, most are weights: their number goes by the square of the channels."""
    share = max(lack.there - lack.kept, 0) / (lack.needed - lack.kept)
    share = sqrt(share) if lack.memory == "flash" else share
    if share < 0.01:
        return "no width would fit"
    return f"about {int(100 * share) / 100:.2f} times the channels would fit"


def _timesteps(T: int, lack: Lack, sizes: Callable[[int], Rows]) -> str:
    """With fewer timesteps, bounds and so types may be narrower."""

    def needed(t: int) -> int:
        return lack.of(sizes(t)[-1]) + lack.kept

    try:
        least = needed(1)
        if least > lack.there:
            return f"fewer timesteps would not be enough (T = 1 needs {least:,})" if T > 1 else ""
        # The largest T that fits is one before the first that does not.
        return f"T = {bisect_right(range(1, T), lack.there, key=needed)} fits"
    except SeennError:
        return ""  # a rule that was calibrated for T, or a policy that chooses up to it


def _potentials(source: Source, missing: int) -> str:
    nodes = source.program.graph.populations
    wide = [node for node in nodes if source.potentials.get(node.name) == "int32"]
    saved = 2 * sum(prod(node.shape) for node in wide)
    if not wide:
        return ""
    enough = "and fit" if saved >= missing else "which is not enough"
    return (
        f"potentials of 16 bits would save {saved:,}, {enough}: {len(wide)} layers "
        "have wider ones, as their bounds ask (fewer or smaller weights a neuron)"
    )
