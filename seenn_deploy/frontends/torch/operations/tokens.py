"""Linear layers over the last axis of an input that has tokens on another one.

Whether that axis holds tokens, or the timesteps of a stream, shows behind the layer alone. Until
then its map is that of one token.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

import numpy as np

from seenn_deploy.frontends.torch.maps import Maps, MapStore
from seenn_deploy.frontends.torch.operations.registry import Graph
from seenn_deploy.frontends.torch.values import (
    Atom,
    Call,
    NotSupportedError,
    Signal,
    Term,
    left_of_input,
)
from seenn_deploy.ir.maps import Affine, Conv2d, Dense, LinearMap
from seenn_deploy.ir.maps.base import weighted


def with_tokens(graph: Graph, signal: Signal, count: int) -> Signal:
    """The signal, of which the last `count` axes are features: those of all tokens of the input.

    The input is then an image of one channel in which each row is a token, and the linear layer a
    convolution whose kernel is one row.

    Raises
    ------
    NotSupportedError
        When there are several such axes, or something else than a linear layer took the last one.
    """
    axes = signal.axes
    held = (i for i, axis in enumerate(axes) if any(a.role == "feature" for a in axis))
    first = min(len(axes) - count, next(held, len(axes)))
    found = [atom for axis in axes[first:] for atom in left_of_input(axis, signal)]
    if signal.shape is None or not found:
        return signal
    tokens, *others = found
    taken = all(weighted(term.maps) for term in signal.terms)
    if others or not taken or signal.seen is None or signal.summed is not None:
        raise _not_taken(tokens)
    tokens.become("feature")
    of_all = _OfAll(graph.maps, tokens)
    terms = tuple(of_all.term(term) for term in signal.terms)
    signal.seen.become((1, tokens.size, of_all.width))
    shape = (signal.shape[0], tokens.size, 1)
    return replace(signal, features=(*signal.features, tokens), shape=shape, terms=terms)


def _not_taken(tokens: Atom) -> NotSupportedError:
    return NotSupportedError(
        f"an axis of {tokens.size} of the input beside the one that a layer takes",
        "begin with a linear layer over the last of two axes, or flatten the input before",
    )


@dataclass
class _OfAll:
    """What was done to one token, done to all of them.

    Parameters
    ----------
    maps : MapStore
    tokens : Atom
        Their axis.

    Attributes
    ----------
    width : int
        Features of a token in the input, once a linear layer that takes them was seen.
    """

    maps: MapStore
    tokens: Atom
    width: int = 0
    _calls: dict[Call, Call] = field(default_factory=dict)

    def term(self, term: Term) -> Term:
        maps: Maps = ()
        for step in term.maps:
            maps = (*maps, _of_all(step, self, not weighted(maps)))
        calls = tuple(self._call(call) for call in term.calls)
        return replace(term, maps=maps, macs=term.macs * self.tokens.size, calls=calls)

    def _call(self, call: Call) -> Call:
        if call not in self._calls:
            first = not any(weighted(term.maps) for term in call.inputs)
            layer, inputs = _of_all(call.layer, self, first), tuple(map(self.term, call.inputs))
            size = self.tokens.size
            shape = (1, size, self.width) if first else (call.shape[0], size, 1)
            self._calls[call] = Call(layer, inputs, shape)
        return self._calls[call]


@singledispatch
def _of_all(step: LinearMap, to: _OfAll, first: bool) -> Any:
    """A map of one token as one of all; `first` says that it takes the input's rows."""
    raise _not_taken(to.tokens)


@_of_all.register
def _(step: Dense, to: _OfAll, first: bool) -> Conv2d:
    if first:
        to.width = step.weight.shape[1]
    return to.maps.by_token(step, first)


@_of_all.register
def _(step: Affine, to: _OfAll, first: bool) -> LinearMap:
    if not first:
        return step
    if np.ptp(step.scale) or np.ptp(step.shift):
        raise _not_taken(to.tokens)
    return to.maps.affine(step.scale[:1], step.shift[:1])
