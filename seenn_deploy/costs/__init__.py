"""Cost models: what a counted operation costs in energy. One cited data file a model.

A file is JSON: ``name``, ``about`` and ``prices``, a picojoule figure with its ``source`` for each
count that the model prices (names of :class:`seenn_deploy.simulator.result.Counts`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy.errors import DataError
from seenn_deploy.graph import Array

COUNTS = (
    "ac",
    "mac",
    "ac_effective",
    "mac_effective",
    "bias_adds",
    "updates_active",
    "updates_inactive",
    "resets",
    "spikes",
    "graded",
)


@dataclass(frozen=True)
class CostModel:
    """Prices in picojoules by count, and where they come from."""

    name: str
    about: str
    prices: dict[str, float]
    sources: dict[str, str]

    def energy(self, counts: Mapping[str, Array]) -> Array:
        """Energy in joules of counts given by name; arrays of one shape in, float64 out."""
        return np.asarray(sum(pj * 1e-12 * counts[name] for name, pj in self.prices.items()))


def names() -> list[str]:
    """The cost models that come with the package."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.json"))


def load(cost: str | Path) -> CostModel:
    """A cost model by name, or from a user's own JSON file.

    Raises
    ------
    DataError
        When there is no such model, or a price is missing, negative or unsourced.
    """
    path = Path(__file__).parent / f"{cost}.json" if str(cost) in names() else Path(cost)
    if not path.is_file():
        raise DataError(f"cost model {str(cost)!r}: no such file; there are {', '.join(names())}")
    try:
        stored = json.loads(path.read_text())
        entries = stored["prices"]
        model = CostModel(
            stored["name"],
            stored.get("about", ""),
            {k: _price(path, k, v) for k, v in entries.items()},
            {k: _source(path, k, v) for k, v in entries.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a cost model ({error!r}); see costs/paper.json") from None
    if not model.prices:
        raise DataError(f"{path}: prices nothing; give at least 'ac' and 'mac'")
    return model


def _price(path: Path, count: str, entry: dict[str, Any]) -> float:
    if count not in COUNTS:
        raise DataError(
            f"{path}: prices {count!r}, which is not counted; there are {', '.join(COUNTS)}"
        )
    value = entry.get("pJ")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < np.inf:
        raise DataError(
            f"{path}: the price of {count!r} is {value!r} pJ; give a number, at least 0"
        )
    return float(value)


def _source(path: Path, count: str, entry: dict[str, Any]) -> str:
    source = entry.get("source")
    if not isinstance(source, str) or not source:
        raise DataError(f"{path}: the price of {count!r} has no source; say where it comes from")
    return source
