"""What a node tells about itself: the protocol that a new kind of nodes implements.

A kind is one file of this folder, or of ``$SEENN_PLUGINS/ir/nodes``: a frozen dataclass, child of
:class:`Node`, whose file has the name that programs on disk know it by. What the kind computes is
registered with the simulator's ``runner``, and with every other consumer that shall take it
(``functools.singledispatch``), in the same file; the others refuse it in one line.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError

if TYPE_CHECKING:
    from seenn_deploy.ir.maps import LinearMap

Self = TypeVar("Self", bound="Node")
Parameter: TypeAlias = float | Array
"""One number for a layer, or an array that broadcasts to its shape: by channel or by neuron."""
_PARAMETERS = ("tau", "tau_syn", "v_threshold", "v_init", "reset_by")


class Node(ABC):
    """The source, neurons, or the readout of a graph."""

    name: str
    shape: Shape
    bias: Array | None = None  # added to the current at every timestep, where the kind has one
    graded: ClassVar[bool] = False
    """Whether the node can send values other than 0 and 1."""
    stages: ClassVar[int] = 1
    """Synapse stages of a projection into the node; 0 where it takes spikes as they are."""

    adds: ClassVar[bool] = True
    """Whether what arrives is added up; only a product does something else with it."""

    spikes: ClassVar[bool] = True
    """Whether what the node sends is spikes, or sums of them: not an input, and not logits."""

    real: ClassVar[bool] = False
    """Whether the node sends real values, which every synapse multiplies."""

    @property
    def analog(self) -> bool:
        """Whether the node sends the same real values at every timestep."""
        return False

    @property
    def kind(self) -> str:
        """The name of the kind's file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def text(self) -> str:
        """The node in a reader's words."""
        return self.kind

    @property
    def arriving(self) -> Shape:
        """Shape of the currents that synapses cause, and of the bias."""
        return self.shape

    def taken(self, currents: Array) -> Array:
        """What the node takes of currents (..., *arriving), bias included: (..., *shape)."""
        return currents

    def taken_between(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Bound what the node takes of currents between `low` and `high`, (*arriving)."""
        return low, high

    @property
    def neurons(self) -> int:
        """Neurons, each with a potential and a threshold."""
        return prod(self.shape)

    @property
    def potentials(self) -> int:
        """Values that are kept from one timestep to the next; what only adds keeps none."""
        return prod(self.shape) if self.stages else 0

    def with_bias(self: Self, bias: Array) -> Self:
        """The same node with another bias.

        Raises
        ------
        ModelError
            When the kind has none.
        """
        if self.bias is None:
            raise ModelError(f"{self.name}: a {self.kind} node has no bias")
        return cast(Self, replace(cast(Any, self), bias=bias))

    def check(self) -> None:
        """Raise ModelError where a parameter has no meaning."""
        for name in ("tau", "tau_syn"):
            value = getattr(self, name, 0.0)
            if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
                raise ModelError(f"{self.name}: {name} = {shown(value)} lies outside [0, 1]")
        for name in _PARAMETERS:
            if isinstance(value := getattr(self, name, None), np.ndarray):
                self._check_array(name, value)
        if self.bias is not None:
            self._check_array("bias", self.bias)

    def _check_array(self, name: str, values: Array) -> None:
        shape = self.arriving if name == "bias" else self.shape
        try:
            fits = np.broadcast_shapes(values.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ModelError(f"{self.name}: a {name} of shape {values.shape} does not fit {shape}")
        if not np.all(np.isfinite(values)):
            raise ModelError(f"{self.name}: the {name} holds NaN or infinity")

    def check_input(  # noqa: B027 - most kinds take everything
        self, pre: Node, maps: tuple[LinearMap, ...], lag: int
    ) -> None:
        """Raise ModelError where the node cannot take what `pre` sends through `maps`."""


def shown(value: Parameter) -> str:
    """A parameter in six digits; one that differs between neurons by its ends, ``0.3..0.9``."""
    low, high = (f"{end:.6g}" for end in (np.min(value), np.max(value)))
    return low if low == high else f"{low}..{high}"


def common(values: Array) -> Parameter:
    """One number where all values are equal, and else the values themselves."""
    flat = np.ravel(values)
    return float(flat[0]) if flat.size and (flat == flat[0]).all() else values
