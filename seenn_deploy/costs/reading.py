"""Strict reading of cost model files: each error is one line that names the file and the entry."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from seenn_deploy.costs.model import (
    COUNTS,
    DERIVED,
    MEMORIES,
    Cost,
    CostModel,
    Memory,
    Priced,
)  # fmt: skip
from seenn_deploy.errors import DataError

# The keys of each kind of JSON object: those that must be there, those that may be.
_KEYS = {
    "model": ({"name", "about", "prices"}, {"addressing", "memory", "not_applied", "no_ann"}),
    "memory": (
        {"about", "access_bits", "word_bits", "traffic"},
        {"levels", "between", "line", "queue_words"},
    ),
    "line": ({"pJ", "pJ_per_byte", "source"}, set[str]()),
    "level": ({"bytes", "pJ", "source"}, set[str]()),
    "price": ({"pJ", "source"}, set[str]()),
}


def read(path: Path, stored: Any) -> CostModel:
    """Make a cost model from the JSON value of its file.

    Raises
    ------
    DataError
        As :func:`load` raises it.
    """
    stored = _keys(path, "the cost model", stored, "model")
    prices, sources = _prices(path, "prices", stored["prices"])
    addressing, places = _prices(path, "addressing", stored.get("addressing", {}))
    for count in ("ac", "mac"):
        if count not in prices:
            raise DataError(f"{path}: the price of {count!r} is missing; give its pJ and source")
    aside = _object(path, "'not_applied'", stored.get("not_applied", {}))
    return CostModel(
        _text(path, "'name'", stored["name"]),
        _text(path, "'about'", stored["about"]),
        prices,
        sources,
        _memory(path, stored["memory"]) if "memory" in stored else None,
        {name: _sourced_price(path, name, entry) for name, entry in aside.items()},
        _text(path, "'no_ann'", stored["no_ann"]) if "no_ann" in stored else "",
        addressing,
        places,
        {name: entry["source"] for name, entry in aside.items()},
    )


def _prices(path: Path, key: str, stored: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Return the picojoules of each count, and their sources."""
    entries = _object(path, f"{key!r}", stored)
    for count in entries:
        _known(path, f"{key} {count!r}, which is not counted", count, (*COUNTS, *DERIVED))
    prices = {count: _sourced_price(path, count, entry) for count, entry in entries.items()}
    return prices, {count: entry["source"] for count, entry in entries.items()}


def _memory(path: Path, stored: Any) -> Memory:
    stored = _keys(path, "'memory'", stored, "memory")
    _text(path, "'about' of 'memory'", stored["about"])
    if ("levels" in stored) == ("line" in stored):
        raise DataError(f"{path}: 'memory' needs 'levels' or a 'line', and not both")
    traffic = _traffic(path, _object(path, "'traffic'", stored["traffic"]))
    if any("queue" in moved for moved in traffic.values()) != ("queue_words" in stored):
        raise DataError(f"{path}: a queue in 'traffic' and 'queue_words' need each other")
    between = stored.get("between", "step")
    if between not in ("step", "linear"):
        raise DataError(f"{path}: 'between' is {between!r}; give step or linear")
    parts = [stored["line"]] if "line" in stored else stored["levels"]
    return Memory(
        _whole(path, "'access_bits'", stored["access_bits"]),
        _word_bits(path, stored["word_bits"], traffic),
        traffic,
        _levels(path, stored["levels"], between) if "levels" in stored else (),
        between,
        _line(path, stored["line"]) if "line" in stored else None,
        _whole(path, "'queue_words'", stored.get("queue_words", 1)),
        tuple(part["source"] for part in parts),
        stored["about"],
    )


def _word_bits(path: Path, stored: Any, traffic: dict[str, dict[str, float]]) -> dict[str, int]:
    """Return the width of each memory that is used."""
    used = sorted({place for moved in traffic.values() for place in moved}, key=MEMORIES.index)
    if not isinstance(stored, dict):
        return dict.fromkeys(used, _whole(path, "'word_bits'", stored))
    if sorted(stored) != sorted(used):
        raise DataError(f"{path}: 'word_bits' has {', '.join(stored)}; give {', '.join(used)}")
    return {place: _whole(path, f"'word_bits' of {place}", stored[place]) for place in used}


def _line(path: Path, stored: Any) -> tuple[float, float]:
    stored = _keys(path, "the memory's line", stored, "line")
    price = _sourced_price(path, "the line", {k: stored[k] for k in ("pJ", "source")})
    return price, _number(path, "the line rises by", "pJ_per_byte", stored["pJ_per_byte"])


def _levels(path: Path, stored: Any, between: str) -> tuple[tuple[float, float], ...]:
    if not isinstance(stored, list) or not stored:
        raise DataError(f"{path}: 'levels' is {stored!r}; list memories, the smallest first")
    levels = []
    for number, entry in enumerate(stored, 1):
        where = f"memory level {number}"
        size = _keys(path, where, entry, "level")["bytes"]
        # A line between levels may begin at nothing; a memory of no bytes holds nothing.
        if between == "step" or type(size) is not int or size != 0:
            _whole(path, f"'bytes' of {where}", size)
        price = {k: entry[k] for k in ("pJ", "source")}
        levels.append((size, _sourced_price(path, where, price)))
    for (small, _), (large, _) in pairwise(levels):
        # The first level that holds a layer's data prices it, which takes an order.
        if small >= large:
            raise DataError(f"{path}: memory levels of {small} and {large} bytes; smallest first")
    return tuple(levels)


def _traffic(path: Path, stored: dict[str, Any]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for count, moved in stored.items():
        _known(path, f"traffic of {count!r}, which is not counted", count, (*COUNTS, *DERIVED))
        found[count] = {}
        for memory, words in _object(path, f"the traffic of {count!r}", moved).items():
            _known(path, f"traffic with a memory {memory!r}", memory, MEMORIES)
            found[count][memory] = _number(path, f"{count!r} moves", "words", words)
    return found


def _sourced_price(path: Path, what: str, entry: Any) -> float:
    """Return the picojoules of an entry ``{"pJ": .., "source": ..}``; no price goes unsourced."""
    if isinstance(entry, dict) and "pJ" not in entry:
        raise DataError(f"{path}: the price of {what!r} is missing; give its pJ and source")
    if isinstance(entry, dict) and not (
        isinstance(entry.get("source"), str) and entry["source"].strip()
    ):
        raise DataError(f"{path}: the price of {what!r} has no source; say where it comes from")
    entry = _keys(path, f"the price of {what!r}", entry, "price")
    return _number(path, f"the price of {what!r} is", "pJ", entry["pJ"])


def _number(path: Path, what: str, unit: str, value: Any) -> float:
    # JSON's true is a Python bool, and every bool is an int.
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not 0 <= value < math.inf:
        raise DataError(f"{path}: {what} {value!r} {unit}; give a number, at least 0")
    return float(value)


def _whole(path: Path, what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"{path}: {what} is {value!r}; give a whole number, at least 1")
    return value


def _text(path: Path, what: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}: {what} is {value!r}; give a text")
    return value


def _object(path: Path, what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{path}: {what} is {value!r}; give a JSON object, see costs/paper.json")
    return value


def _keys(path: Path, what: str, value: Any, kind: str) -> dict[str, Any]:
    """Check that an object has all keys that it needs, and none that means nothing."""
    needed, optional = _KEYS[kind]
    found = _object(path, what, value)
    for key in sorted(needed - found.keys()):
        raise DataError(f"{path}: {what} has no {key!r}; see costs/paper.json")
    for key in sorted(found.keys() - needed - optional):
        known = ", ".join(sorted(needed | optional))
        raise DataError(f"{path}: {what} has a key {key!r} that means nothing; there are {known}")
    return found


def _known(path: Path, what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise DataError(f"{path}: {what}; there are {', '.join(known)}")


def names() -> list[str]:
    """List the cost models that come with the package."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.json"))


def load(cost: str | Path) -> CostModel:
    """Load a cost model by its name, or from a user's own JSON file.

    Raises
    ------
    DataError
        When there is no such model, the file is not JSON or has keys that mean nothing, or a
        price is missing, negative or unsourced.
    """
    path = Path(__file__).parent / f"{cost}.json" if str(cost) in names() else Path(cost)
    if not path.is_file():
        raise DataError(f"cost model {str(cost)!r}: no such file; there are {', '.join(names())}")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); see costs/paper.json") from None
    return read(path, stored)


def of(cost: Priced) -> Cost:
    """The cost itself, or the model that `load` finds by its name."""
    return cost if isinstance(cost, Cost) else load(cost)
