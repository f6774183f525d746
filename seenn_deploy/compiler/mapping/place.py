"""The search for places: as few cores as it finds, then as little work for the busiest one.

Rules:

1. Units are cut from the last to the first, so that the boxes that a neuron sends to are known;
   units that send to themselves, or back, are cut again until nothing changes.
2. Of all cuts into ranges of channels, rows and columns, and of both kinds of axons, the one wins
   that takes the fewest cores: its boxes, and what their senders need besides for the output axon
   slots of so many messages. Of equal ones it is the one whose largest box has the fewest synapses.
3. The readout gets a core of its own, as the exit rule is there. Other boxes that take more than
   half of a core do, too; the rest go, in order, to the core with the least work that has room.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.compiler.mapping.chip import Chip, load
from seenn_deploy.compiler.mapping.needs import Axons, Box, Needs, needs
from seenn_deploy.compiler.mapping.placement import RESOURCES, TOKEN, Placement, Tile
from seenn_deploy.compiler.mapping.policy import policy_units
from seenn_deploy.compiler.mapping.reach import Slots, Split, reach
from seenn_deploy.compiler.mapping.units import HOST, Unit, units_of
from seenn_deploy.errors import ProgramError

MOST_PASSES = 8  # over units that send back
NEAR = 256  # cores opened last, among which a small box looks for room
AXONS: tuple[Axons, ...] = ("neuron", "pixel")


def map_to_chip(program: ir.Program, chip: str | Chip = "loihi1") -> Placement:
    """Place every neuron of a program on the cores of a chip.

    Parameters
    ----------
    program : Program
        Of int8 precision. Its policy network, if it has one, gets cores where spikes carry values,
        and is the host's elsewhere.
    chip : str, path or Chip
        ``loihi1``, ``loihi2``, or a file like those in ``compiler/mapping/chips``.

    Returns
    -------
    Placement
        On as many chips as it takes.

    Raises
    ------
    ProgramError
        When the chip cannot compute the program, or a single neuron takes more than a core has.
    DataError
        When there is no such chip.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> graph = sd.import_model(sd.example().network, T=4)
    >>> placement = sd.map_to_chip(sd.compile(graph, precision="int8"), "loihi1")
    >>> placement.chips
    2
    """
    found = chip if isinstance(chip, Chip) else load(chip)
    units, policy = units_of(program, found), program.policy
    if policy is not None and found.graded:
        units = (*policy_units(policy), *units)
    tiles = _packed(units, _cuts(units, found), found)
    readout = program.graph.readout.name
    controller = next(tile.core for tile in tiles if tile.unit == readout)
    on_host = policy is not None and not found.graded
    return Placement(found, program.fingerprint, tiles, controller, on_host)


# --- cutting units into boxes ---------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A unit in boxes, and what each of them takes; see `_Cutter.takes`."""

    split: Split
    takes: tuple[tuple[int, ...], ...]


def _cuts(units: tuple[Unit, ...], chip: Chip) -> dict[str, Cut]:
    cuts: dict[str, Cut] = {}
    for _ in range(MOST_PASSES):
        before = dict(cuts)
        for unit in reversed(units):
            cuts[unit.name] = _Cutter(unit, chip, _slots(unit, units, cuts)).best()
        if before == cuts or not _sends_back(units):
            return cuts
    raise ProgramError(
        f"chip {chip.name}: no cut of the layers that send back was found that all limits allow"
    )


def _sends_back(units: tuple[Unit, ...]) -> bool:
    place = {unit.name: i for i, unit in enumerate(units)}
    return any(
        link.pre != HOST and place[link.pre] >= place[unit.name]
        for unit in units
        for link in unit.links
    )


def _slots(unit: Unit, units: tuple[Unit, ...], cuts: Mapping[str, Cut]) -> list[Slots]:
    """The output axon slots of a unit's neurons, for each of its targets that was cut."""
    found = []
    for target in units:
        for link in target.links:
            if link.pre == unit.name and (cut := cuts.get(target.name)):
                found.append(Slots.of(reach(link.synapses, link.shape, cut.split)))
    return found


def _key(option: tuple[float, int, Split]) -> tuple[float, int]:
    return option[:2]


@dataclass(frozen=True)
class _Cutter:
    """Cuts one unit.

    Parameters
    ----------
    unit : Unit
    chip : Chip
    slots : list of Slots
    """

    unit: Unit
    chip: Chip
    slots: list[Slots]

    @cached_property
    def rooms(self) -> tuple[float, ...]:
        """What a core has of each of `RESOURCES`."""
        return _rooms(self.chip)

    def best(self) -> Cut:
        """The cut by rule 2.

        Raises
        ------
        ProgramError
            When even a box of one neuron is too large.
        """
        found: list[tuple[float, int, Split]] = []
        _, height, width = self.unit.shape
        for axons in AXONS:
            for rows, columns in product(_parts(height), _parts(width)):
                least = (len(rows) - 1) * (len(columns) - 1)
                if found and least > min(found, key=_key)[0]:
                    continue
                if (split := self._fewest_channels(rows, columns, axons)) is not None:
                    work = max(self.takes(box, axons)[-1] for box in _some(split))
                    found.append((self._cores(split), work, split))
        for _, _, split in sorted(found, key=_key):
            takes = self._all_take(split)
            if takes is not None:
                return Cut(split, takes)
        raise self._refusal()

    def _all_take(self, split: Split) -> tuple[tuple[int, ...], ...] | None:
        """What each box takes; None where one does not fit."""
        found = []
        for box in split.boxes:
            took = self.takes(box, split.axons)
            if not self._allowed(took, split.axons):
                return None
            found.append(took)
        return tuple(found)

    def _cores(self, split: Split) -> float:
        """Estimate of the cores that a cut takes, its own and more for those who send to it."""
        slots = self.chip.limits.get("output_axons", float("inf"))
        more = 0.0
        for link in self.unit.links:
            if link.pre != HOST:
                sent = Slots.of(reach(link.synapses, link.shape, split))
                whole = Box(*((0, n) for n in link.shape))
                spare = prod(link.shape) / self.chip.limits["neurons"]
                more += max(0.0, sent.within(whole) / slots - spare)
        return split.number + more

    def _fewest_channels(
        self, rows: tuple[int, ...], columns: tuple[int, ...], axons: Axons
    ) -> Split | None:
        """With the fewest ranges of channels that some boxes allow, as more are always smaller."""
        options = [Split((c, rows, columns), axons) for c in _parts(self.unit.shape[0])]

        def fits(split: Split) -> bool:
            return all(self._fits(box, axons) for box in _some(split))

        at = bisect_left(options, True, key=fits)
        return options[at] if at < len(options) else None

    def _fits(self, box: Box, axons: Axons) -> bool:
        return self._allowed(self.takes(box, axons), axons)

    def _allowed(self, took: tuple[int, ...], axons: Axons) -> bool:
        if axons == "pixel" and took and took[1] > self.chip.shared_axons:
            return False
        return bool(took) and all(n <= room for n, room in zip(took, self.rooms, strict=False))

    def takes(self, box: Box, axons: Axons) -> tuple[int, ...]:
        """What a box takes of each of `RESOURCES`, and its synapses; nothing without a form."""
        total = Needs()
        for link in self.unit.links:
            took = needs(link.synapses, link.shape, box, axons, self.chip)
            if took is None:
                return ()
            total += took
        slots = sum(part.within(box) for part in self.slots)
        return box.neurons, total.axons, slots, total.bits, total.synapses

    def _refusal(self) -> ProgramError:
        """Of one neuron: what it takes, and of which resource a core has too little."""
        last = Box(*((n // 2, n // 2 + 1) for n in self.unit.shape))
        options = [took for axons in AXONS if (took := self.takes(last, axons))]
        rooms = self.rooms
        shares = [max(n / room for n, room in zip(t, rooms, strict=False)) for t in options]
        took = options[int(np.argmin(shares))]
        over = [i for i, room in enumerate(rooms) if took[i] > room] or [
            int(np.argmax([took[i] / room for i, room in enumerate(rooms)]))
        ]
        what = ", ".join(
            f"{took[i]:,} {RESOURCES[i].replace('_', ' ')} of {rooms[i]:,.0f}" for i in over
        )
        return ProgramError(
            f"{self.unit.layer}: one neuron takes {what} that a core of {self.chip.name} has; "
            "give it fewer inputs or targets, or take another chip"
        )


@cache
def _parts(size: int) -> tuple[tuple[int, ...], ...]:
    """Cuts of an axis into 1, 2, .. ranges that differ by one at most, each size once."""
    numbers = sorted({-(-size // width) for width in range(1, size + 1)})
    return tuple(tuple(size * i // n for i in range(n + 1)) for n in numbers)


def _some(split: Split) -> list[Box]:
    """Boxes at the ends and in the middle of each axis, the likely largest first."""
    few = []
    for cut in split.cuts:
        last = len(cut) - 2
        widest = max(range(last + 1), key=lambda i: (cut[i + 1] - cut[i], 0 < i < last))
        few.append([(cut[i], cut[i + 1]) for i in dict.fromkeys((widest, 0, last))])
    return [Box(c, r, q) for c, r, q in product(*few)]


def _rooms(chip: Chip) -> tuple[float, ...]:
    """What a core has of each of `RESOURCES`; without end where nobody has published it."""
    taken = {"input_axons": TOKEN}
    return tuple(chip.limits.get(r, float("inf")) - taken.get(r, 0) for r in RESOURCES)


# --- putting boxes on cores -----------------------------------------------------------------------


def _packed(units: tuple[Unit, ...], cuts: Mapping[str, Cut], chip: Chip) -> tuple[Tile, ...]:
    """Rule 3, with cores numbered in the order of the boxes that opened them."""
    rooms, readout = np.array(_rooms(chip)), units[-1].name
    number = sum(cut.split.number for cut in cuts.values())
    used, work = np.zeros((number, len(RESOURCES))), np.zeros(number)
    cores, placed = 0, list[Tile]()
    for unit in units:
        split = cuts[unit.name].split
        for box, took in zip(split.boxes, cuts[unit.name].takes, strict=True):
            takes = np.array(took[: len(RESOURCES)], float)
            core = -1
            if unit.name != readout and (takes / rooms).max() <= 0.5:
                first = max(0, cores - NEAR)
                core = _least_busy(used[first:cores] + takes <= rooms, work[first:cores], first)
            if core < 0:
                core, cores = cores, cores + 1
            used[core] += takes
            work[core] += took[-1]
            placed.append(Tile(unit.name, unit.layer, box, split.axons, core, *took))
    return tuple(placed)


def _least_busy(fits: Array, work: Array, first: int) -> int:
    """Number of the core with the least work among those that fit; -1 where none does."""
    fitting = np.flatnonzero(fits.all(1))
    return first + int(fitting[np.argmin(work[fitting])]) if len(fitting) else -1
