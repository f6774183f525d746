"""Leaks and sums that a module writes by hand, found in what it computes at each timestep.

A state ``m[t] = tau m[t-1] + x[t]`` that starts at 0 is, written out, the sum over j of
``tau^j x[t-j]``: the terms of each timestep are those of the first one, the older ones scaled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import isclose
from typing import TypeAlias

from seenn_deploy.frontends.torch.maps import Maps, MapStore
from seenn_deploy.frontends.torch.values import Signal, Term

Core: TypeAlias = tuple[str, tuple[int, ...], int]
Shares: TypeAlias = dict[Core, dict[int, float]]


def leak_of(steps: Sequence[Signal], maps: MapStore) -> float | None:
    """Return tau if the signals are a state's values at timesteps 0, 1, ..; else None."""
    found = [shares(signal.terms, maps) for signal in steps]
    fresh = {core: by_step.get(0, 0.0) for core, by_step in found[0].items()}
    if len(steps) < 2 or any(set(by_step) != {0} for by_step in found[0].values()):
        return None
    core = next(iter(fresh), None)
    if core is None or not fresh[core] or 0 not in found[1].get(core, {}):
        return None
    tau = float(f"{found[1][core][0] / fresh[core]:.12g}")  # without the noise of the division
    for t, signal in enumerate(found):
        if set(signal) != set(fresh):
            return None
        for core, by_step in signal.items():
            expected = {j: fresh[core] * tau ** (t - j) for j in range(t + 1)}
            if set(by_step) != set(expected):
                return None
            if not all(isclose(by_step[j], c, rel_tol=1e-5) for j, c in expected.items()):
                return None
    return tau


def leak_of_last(by_step: dict[int, float]) -> float | None:
    """Return tau if these are the shares of timesteps 0, 1, .. in a state at the last one."""
    last = len(by_step) - 1
    if set(by_step) != set(range(last + 1)) or last < 1 or not by_step[last]:
        return None
    tau = float(f"{by_step[last - 1] / by_step[last]:.12g}")
    same = (isclose(c, by_step[last] * tau ** (last - j), rel_tol=1e-5) for j, c in by_step.items())
    return tau if all(same) else None


def shares(terms: Sequence[Term], maps: MapStore) -> Shares:
    """Return the factor of every timestep in a sum of terms, by what is scaled."""
    found: Shares = defaultdict(lambda: defaultdict(float))
    for term in terms:
        core, factor = core_of(term.maps, maps)
        found[term.origin, core, term.lag][term.step if term.step is not None else 0] += factor
    return found


def core_of(chain: Maps, maps: MapStore) -> tuple[tuple[int, ...], float]:
    """Take the factors that are the same for all channels out of a chain of maps."""
    core, factor = [], 1.0
    for step in map(maps.without_constants, chain):
        if step.factor is not None:
            factor *= step.factor
        else:
            core.append(id(step))
    return tuple(core), factor


__all__ = ["core_of", "leak_of", "leak_of_last", "shares"]
