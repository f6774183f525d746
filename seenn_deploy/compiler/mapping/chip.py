"""A chip: how many cores it has, what each of them holds, and what an operation costs there.

A chip is one JSON file. ``mesh`` has ``columns`` and ``rows`` of tiles and ``cores_per_tile``;
``limits`` what one core holds: ``neurons`` and ``synapse_bits``, and where it is published
``input_axons`` and ``output_axons``; ``synapses`` the format in which synapses lie in memory
(:class:`Format`); ``population_axons`` the largest number of ``channels`` that share an axon, and
how many such axons there are ``per_core``. ``energy_pJ`` and ``time_ns`` are left out where
nothing is published. In place of times, ``bound_ns`` may have what one neuron, one synaptic
operation and one message over a link take at least, and the barrier. Every number has its source
beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from seenn_deploy.errors import DataError

ENERGIES = (
    "synapse_conv", "synapse_sparse", "synapse_dense", "access", "update", "spike", "message",
    "hop_east_west", "hop_north_south",
)  # fmt: skip
TIMES = (
    "synapse_conv", "synapse_sparse", "synapse_dense", "access", "update", "spike", "message_in",
    "message_out", "hop_east_west", "hop_north_south", "barrier",
)  # fmt: skip
BOUNDS = ("neuron", "synapse", "message", "barrier")
LIMITS = ("neurons", "synapse_bits", "input_axons", "output_axons")
_NEEDED = ("name", "about", "mesh", "graded_spikes", "limits", "synapses", "population_axons")
_FOLDER = Path(__file__).parent / "chips"


@dataclass(frozen=True)
class Format:
    """How the synapses of one input axon lie in a core's memory.

    Parameters
    ----------
    weight_bits : int
    index_bits : tuple of int
        Widths that the number of a target neuron can have.
    block, block_bits : int
        Synapses of a block at most, and the bits that each block takes besides.
    unit_bits : int
        What a block is rounded up to.
    """

    weight_bits: int
    index_bits: tuple[int, ...]
    block: int
    block_bits: int
    unit_bits: int

    def bits(self, synapses: int, targets: int) -> int:
        """Bits of a list of synapses, whose targets are among so many neurons."""
        width = self._widths[min(max(0, targets - 1).bit_length(), len(self._widths) - 1)]
        full, rest = divmod(synapses, self.block)
        bits = full * self._rounded(self.block * width + self.block_bits)
        return bits + (self._rounded(rest * width + self.block_bits) if rest else 0)

    @cached_property
    def _widths(self) -> list[int]:
        """Bits of a synapse by those that the number of a target needs; more than any have most."""
        most = max(self.index_bits)
        return [
            self.weight_bits + min(b for b in self.index_bits if b >= needed)
            for needed in range(most + 1)
        ]

    def _rounded(self, bits: int) -> int:
        return -(-bits // self.unit_bits) * self.unit_bits


@dataclass(frozen=True)
class Chip:
    """A chip, as its file describes it.

    Parameters
    ----------
    name, about : str
    columns, rows, cores_per_tile : int
        The mesh of tiles.
    graded : bool
        Whether spikes can carry values.
    limits : mapping
        What one core holds, by the names of `LIMITS`; one that nobody has published is not there.
    format : Format
    channels_per_axon : int
        Channels of a pixel that can share an input axon, the channel being part of the message.
    shared_axons : int
        Such axons of a core at most.
    energy : mapping
        Picojoules by the names of `ENERGIES`; empty where nothing is published.
    time : mapping
        Nanoseconds by the names of `TIMES`; ``barrier`` has pairs of tiles in use and time.
    sources : mapping
        Where each number is from, by its place in the file: ``"limits.neurons"``.
    bound : mapping
        Nanoseconds that a step takes at least, by the names of `BOUNDS`: it is the largest of the
        neurons and synaptic operations of the busiest core, the messages over the busiest link, and
        the barrier (equation 1 of arXiv 2601.10035, memory reads left out). Empty where unknown.
    """

    name: str
    about: str
    columns: int
    rows: int
    cores_per_tile: int
    graded: bool
    limits: Mapping[str, int]
    format: Format
    channels_per_axon: int
    shared_axons: int
    energy: Mapping[str, float]
    time: Mapping[str, Any]
    sources: Mapping[str, str]
    bound: Mapping[str, float] = field(default_factory=dict)

    @property
    def cores(self) -> int:
        """Cores of the chip."""
        return self.columns * self.rows * self.cores_per_tile

    def tile(self, core: int) -> tuple[int, int]:
        """Column and row of the tile of a core; tiles lie in rows, every second one backwards."""
        row, column = divmod(core // self.cores_per_tile, self.columns)
        return (column if row % 2 == 0 else self.columns - 1 - column), row


def names() -> list[str]:
    """List the chips that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def load(chip: str | Path) -> Chip:
    """Load a chip by its name, or from a file of one's own.

    Raises
    ------
    DataError
        When there is none, or its file lacks a number, has one that is negative, or no source.
    """
    path = _FOLDER / f"{chip}.json" if str(chip) in names() else Path(chip)
    if not path.is_file():
        raise DataError(
            f"chip {str(chip)!r} does not exist; there are {', '.join(names())}; or name a JSON "
            "file"
        )
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: no chip's file ({error})") from None
    return _Reader(path).chip(stored)


@dataclass(frozen=True)
class _Reader:
    """Reads a chip's file, and says where in it something is wrong."""

    path: Path

    def chip(self, stored: Any) -> Chip:
        parts = self._object("the chip", stored)
        missing = [key for key in _NEEDED if key not in parts]
        if missing:
            raise self._wrong(missing[0], "is missing")
        for key in ("name", "about"):
            if not isinstance(parts[key], str) or not parts[key]:
                raise self._wrong(key, f"is {parts[key]!r}; give a text")
        sources: dict[str, str] = {}
        mesh = self._object("mesh", parts["mesh"])
        sources["mesh"] = self._source("mesh", mesh)
        size = [self._whole(f"mesh.{key}", mesh.get(key), 1) for key in
                ("columns", "rows", "cores_per_tile")]  # fmt: skip
        graded = self._value("graded_spikes", parts["graded_spikes"], sources)
        if type(graded) is not bool:
            raise self._wrong("graded_spikes", f"is {graded!r}; give true or false")
        limits = self._numbers("limits", parts["limits"], LIMITS, LIMITS[:2], sources)
        axons = self._numbers("population_axons", parts["population_axons"],
                              ("channels", "per_core"), None, sources)  # fmt: skip
        return Chip(
            name=parts["name"],
            about=parts["about"],
            columns=size[0],
            rows=size[1],
            cores_per_tile=size[2],
            graded=graded,
            limits={key: self._whole(f"limits.{key}", limits[key], 1) for key in limits},
            format=self._format(parts["synapses"], sources),
            channels_per_axon=self._whole("population_axons.channels", axons["channels"], 1),
            shared_axons=self._whole("population_axons.per_core", axons["per_core"], 1),
            energy=self._numbers("energy_pJ", parts.get("energy_pJ", {}), ENERGIES, (), sources),
            time=self._times(parts.get("time_ns", {}), sources),
            sources=sources,
            bound=self._numbers("bound_ns", parts.get("bound_ns", {}), BOUNDS, (), sources),
        )

    def _format(self, stored: Any, sources: dict[str, str]) -> Format:
        of = self._object("synapses", stored)
        keys = ("weight_bits", "block", "block_bits", "unit_bits")
        values = {key: self._value(f"synapses.{key}", of.get(key), sources) for key in keys}
        whole = {k: self._whole(f"synapses.{k}", v, k != "block_bits") for k, v in values.items()}
        index = self._value("synapses.index_bits", of.get("index_bits"), sources)
        if not isinstance(index, list) or not index:
            raise self._wrong("synapses.index_bits", f"is {index!r}; list widths in bits")
        widths = tuple(self._whole("synapses.index_bits", width, 0) for width in index)
        return Format(index_bits=widths, **whole)

    def _times(self, stored: Any, sources: dict[str, str]) -> dict[str, Any]:
        of = dict(self._object("time_ns", stored))
        if not of:
            return {}
        barrier = self._value("time_ns.barrier", of.pop("barrier", None), sources)
        times: dict[str, Any] = dict(self._numbers("time_ns", of, TIMES[:-1], None, sources))
        if not isinstance(barrier, list) or not barrier:
            raise self._wrong("time_ns.barrier", f"is {barrier!r}; list [tiles, nanoseconds]")
        for pair in barrier:
            if not isinstance(pair, list) or len(pair) != 2:
                raise self._wrong("time_ns.barrier", f"has {pair!r}; list [tiles, nanoseconds]")
            self._number("time_ns.barrier", pair[0])
            self._number("time_ns.barrier", pair[1])
        times["barrier"] = tuple(map(tuple, barrier))
        return times

    def _numbers(
        self,
        where: str,
        stored: Any,
        known: tuple[str, ...],
        needed: tuple[str, ...] | None,
        sources: dict[str, str],
    ) -> dict[str, Any]:
        """Numbers with their sources; `needed` ones, all that are known by default, must be there.

        An empty object is one without any.
        """
        of = self._object(where, stored)
        for key in of:
            if key not in known:
                raise self._wrong(f"{where}.{key}", f"means nothing; there are {', '.join(known)}")
        for key in known if needed is None or (needed == () and of) else needed:
            if key not in of:
                raise self._wrong(f"{where}.{key}", "is missing")
        found = {k: self._value(f"{where}.{k}", of[k], sources) for k in known if k in of}
        return {key: self._number(f"{where}.{key}", value) for key, value in found.items()}

    def _value(self, where: str, entry: Any, sources: dict[str, str]) -> Any:
        if entry is None:
            raise self._wrong(where, "is missing")
        of = self._object(where, entry)
        sources[where] = self._source(where, of)
        if "value" not in of:
            raise self._wrong(where, "has no value")
        return of["value"]

    def _source(self, where: str, entry: Mapping[str, Any]) -> str:
        source = entry.get("source")
        if not isinstance(source, str) or not source.strip():
            raise self._wrong(where, "has no source; say where the number is from")
        return source

    def _number(self, where: str, value: Any) -> float:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not 0 <= value < math.inf:
            raise self._wrong(where, f"is {value!r}; give a number, at least 0")
        return value  # type: ignore[no-any-return]

    def _whole(self, where: str, value: Any, least: int) -> int:
        if type(value) is not int or value < least:
            raise self._wrong(where, f"is {value!r}; give a whole number, at least {int(least)}")
        return value

    def _object(self, where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(where, f"is {value!r}; give a JSON object, see chips/loihi1.json")
        return value

    def _wrong(self, where: str, what: str) -> DataError:
        return DataError(f"{self.path}: {where} {what}")
