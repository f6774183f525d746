"""Hypothesis strategies: small random policy networks of every operation."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import strategies as st

from seenn_deploy.exits.policy_network.forward import Operation, PolicyNetwork

CHOICES = (1, 2, 4)


class Building:
    """A growing network; `shape` is that of its last value, `gain` a factor on its first weights.

    On the first alone: a chain of such factors leaves what onnxruntime's float32 can tell.
    """

    def __init__(self, shape: tuple[int, ...], rng: np.random.Generator, gain: float = 1.0) -> None:
        self.operations: list[Operation] = []
        self.shape, self.rng, self._gain = shape, rng, gain

    def gain(self) -> float:
        gain, self._gain = self._gain, 1.0
        return gain

    @property
    def last(self) -> int:
        return len(self.operations)

    def add(
        self, kind: str, of: tuple[int, ...], arrays: dict | None = None, **options: int
    ) -> None:
        blank = [np.zeros((1, *self.shape))] * (self.last + 1)
        operation = Operation(kind, of, arrays or {}, options)
        self.shape = operation(blank).shape[1:]
        self.operations.append(operation)

    def affine(self) -> None:
        size = (self.shape[0], *[1] * (len(self.shape) - 1))
        self.add("affine", (self.last,), {"scale": self.rng.normal(0, 1.5, size),
                                          "shift": self.rng.normal(size=size)})  # fmt: skip

    def conv(self, outs: int, kernel: int, groups: int, **options: int) -> None:
        size = (outs, self.shape[0] // groups, kernel, kernel)
        weight = self.rng.normal(0, 0.5, size) * self.gain()
        weight[self.rng.random(outs) < 0.1] = 0
        arrays = {"weight": weight, "bias": self.rng.normal(0, 0.3, outs)}
        self.add("conv2d", (self.last,), arrays, groups=groups, **options)

    def dense(self, outs: int) -> None:
        size = prod(self.shape)
        weight = self.rng.normal(0, 1 / np.sqrt(size), (outs, size)) * self.gain()
        self.add("dense", (self.last,), {"weight": weight, "bias": self.rng.normal(0, 0.1, outs)})


@st.composite
def networks(draw: st.DrawFn) -> tuple[PolicyNetwork, tuple[int, ...]]:
    """A network with three choices, and the shape of its images."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    gain = draw(st.sampled_from([1, 1, 1, 0, 1e-7, 1e7]))
    net = Building(shape, np.random.default_rng(draw(st.integers(0, 2**32 - 1))), gain)
    for _ in range(draw(st.integers(0, 5))):
        draw(st.sampled_from([_affine, _conv, _residual, _limited, _average]))(draw, net)
    if draw(st.booleans()) and len(net.shape) == 3:
        net.add("average", (net.last,), kernel=0)
    if draw(st.booleans()):
        net.dense(draw(st.integers(1, 5)))
        _limited(draw, net)
    net.dense(len(CHOICES))
    if draw(st.booleans()):
        net.affine()
    return PolicyNetwork(tuple(net.operations), CHOICES), shape


def _affine(draw: st.DrawFn, net: Building) -> None:
    net.affine()


def _conv(draw: st.DrawFn, net: Building) -> None:
    padding = draw(st.integers(0, 2))
    kernel = draw(st.integers(1, min(3, *(n + 2 * padding for n in net.shape[1:]))))
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if net.shape[0] % g == 0]))
    outs = groups * draw(st.integers(1, 3))
    net.conv(outs, kernel, groups, padding=padding, stride=draw(st.integers(1, 3)))


def _residual(draw: st.DrawFn, net: Building) -> None:
    before = net.last
    net.conv(net.shape[0], 3, 1, padding=1, stride=1)
    if draw(st.booleans()):
        net.add("relu", (net.last,))
    net.add("add", (net.last, before))


def _limited(draw: st.DrawFn, net: Building) -> None:
    if draw(st.booleans()):
        net.add("relu", (net.last,))
    else:
        low = np.float64(draw(st.sampled_from([-1.0, 0.0, 0.25])))
        net.add("clip", (net.last,), {"low": low, "high": low + draw(st.sampled_from([0.5, 6.0]))})


def _average(draw: st.DrawFn, net: Building) -> None:
    if min(net.shape[1:]) >= 2:
        net.add("average", (net.last,), kernel=2)
