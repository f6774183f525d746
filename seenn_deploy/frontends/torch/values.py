"""The meaning of a traced tensor: spikes and currents, on axes that are batch, time or features.

Axes consist of *atoms*, each of which is one batch, time or feature axis. Reshaping regroups atoms
and breaks none but those of features, so that (N, T, C, H, W) is still understood after flattening
to (N T, C, H, W).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import takewhile
from math import prod
from typing import Any, Literal, TypeAlias

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.ir.maps import LinearMap, Synapses

Role: TypeAlias = Literal["batch", "time", "feature"]
SOURCE = "input"


class NotSupportedError(Exception):
    """An operator does something that no graph can express; the walk adds where."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class NotMergedError(NotSupportedError):
    """Two linear maps in a row are not one map; a node between them can send the currents on."""


# Compared by identity: two axes of one size are two axes.
@dataclass(eq=False)
class Atom:
    """An axis. Its role may become known only later, where it is used.

    Only one of features is ever split, as channels are into heads: the same parts, whoever asks.

    Parameters
    ----------
    size : int
    role : 'batch', 'time' or 'feature', optional
    of_input : bool
        Whether it is an axis of the module's input.
    """

    size: int
    role: Role | None = None
    of_input: bool = False
    parts: dict[int, tuple[Atom, Atom]] = field(default_factory=dict)

    def split(self, first: int) -> tuple[Atom, Atom]:
        """Split features into an axis of `first` and one of the rest, in C order."""
        if self.of_input and self.role is None:  # of an image that comes as a vector
            self.become("feature")
        if self.role != "feature" or first < 1 or self.size % first:
            raise NotSupportedError(
                f"a reshape that cuts through an axis of {self.size}",
                "views may merge and split axes only where batch, time and features meet",
            )
        if first not in self.parts:
            sizes = first, self.size // first
            left, right = (Atom(n, "feature", self.of_input) for n in sizes)
            self.parts[first] = left, right
        return self.parts[first]

    def become(self, role: Role) -> None:
        """Take a role, which is then final."""
        if self.role not in (None, role):
            raise NotSupportedError(
                f"an axis of {self.size} is used both as {self.role} and as {role}",
                "keep batch, time and features on axes of their own",
            )
        self.role = role


@dataclass(frozen=True)
class Summed:
    """A sum over `steps` timesteps, times a factor that is 1 / steps for a mean."""

    factor: float
    steps: int


@dataclass(frozen=True, eq=False)
class State:
    """A state of the module's own over time: what it was, the leaked share, and what is added.

    Parameters
    ----------
    tau : float
        Share that is left of it at each timestep; 1 for a sum.
    steps : tuple of Signal
        Its values at each traced timestep.
    """

    tau: float
    steps: tuple[Signal, ...]


@dataclass(eq=False)
class Seen:
    """What the module sees its input as: a vector may be viewed as an image.

    Parameters
    ----------
    shape : tuple of int, optional
        Its shape in the graph, once a layer that needs an image has been found.
    """

    shape: Shape | None = None

    def become(self, shape: Shape) -> None:
        """Take a shape, which is then final."""
        if self.shape not in (None, shape):
            raise NotSupportedError(
                f"the input is seen as {self.shape} and as {shape}", "see it as one image"
            )
        self.shape = shape


@dataclass(frozen=True)
class Window:
    """A max pool over currents, as of :class:`~seenn_deploy.ir.nodes.maximum.Maximum`."""

    before: Pair
    window: Pair
    stride: Pair
    padding: Pair


Axes: TypeAlias = tuple[tuple[Atom, ...], ...]


@dataclass(frozen=True, eq=False)
class Call:
    """A layer of the module, as it was applied to a sum of terms of `shape`."""

    layer: Synapses
    inputs: tuple[Term, ...]
    shape: Shape


@dataclass(frozen=True, eq=False)
class Term:
    """The output of one node, after linear maps.

    Parameters
    ----------
    origin : str
        Name of the node.
    maps : tuple of linear maps
        The maps in order; equal maps are the same object.
    step : int, optional
        Timestep, counted from 0, in a module that calls its layers once per timestep. None for a
        whole stream, and for an image.
    macs : int
        Multiply-accumulates of the maps as they were trained.
    calls : tuple of Call
        The convolutions and linear layers that it went through.
    lag : int
        Timesteps that a delay in the module holds it back, besides those that `step` shows.
    real : bool
        Whether the node sends real values, and no spikes or sums of them.
    """

    origin: str
    maps: tuple[LinearMap, ...] = ()
    step: int | None = None
    macs: int = 0
    calls: tuple[Call, ...] = ()
    lag: int = 0
    real: bool = False

    @property
    def spikes(self) -> bool:
        """Whether it is what a node sends itself, spikes or sums of them."""
        return self.origin != SOURCE and not self.maps and not self.lag and not self.real


@dataclass(frozen=True, eq=False)
class Signal:
    """A sum of terms.

    Parameters
    ----------
    axes : tuple of tuples of atoms
        The atoms of each axis.
    features : tuple of atoms
        Atoms of one sample at one timestep, in C order; for the bare input, all candidates.
    shape : tuple of int, optional
        Shape of the features in the graph; None for the bare input, where it is not known yet.
    terms : tuple of Term
    summed : Summed, optional
        The sum over time that the signal went through.
    state : State, optional
        For the stream of a state's values, of which `terms` are then what is added to it.
    pool : Window, optional
        The max pool behind the sum of the terms. Maxima of sums are no sums of maxima, so that
        neurons alone take such a signal as it is; for all else it becomes a node.
    seen : Seen, optional
        Of the module's input, where it is noted as what it is seen.
    """

    axes: Axes
    features: tuple[Atom, ...]
    shape: Shape | None
    terms: tuple[Term, ...]
    summed: Summed | None = None
    state: State | None = None
    pool: Window | None = None
    seen: Seen | None = None

    @property
    def sizes(self) -> Shape:
        return tuple(prod(a.size for a in axis) for axis in self.axes)

    @property
    def spikes(self) -> bool:
        """Whether it is the output of one node."""
        return (
            len(self.terms) == 1
            and self.terms[0].spikes
            and self.summed is None
            and self.state is None
            and self.pool is None
        )

    @property
    def times(self) -> list[Atom]:
        """The atoms that are known to be time."""
        return [a for axis in self.axes for a in axis if a.role == "time"]


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that depends on no input."""

    tensor: Any


@dataclass(frozen=True, eq=False)
class Joined:
    """Features side by side, which a linear layer takes each with its own columns of weights."""

    parts: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Unreadable:
    """An output over several calls that no readout gives, and why."""

    why: str
    value: Any


@dataclass(frozen=True, eq=False)
class Potential:
    """A layer's state, to be handed to its next call, recorded or read out.

    Parameters
    ----------
    layer : int
    step : int, optional
        Timestep, counted from 0; None where all timesteps are stacked.
    layout : Signal
        Where batch, time and features lie: those of the layer's input.
    beside : bool
        Whether it is what the layer returns beside its result, for its next call.
    """

    layer: int
    step: int | None
    layout: Signal
    beside: bool = False

    @property
    def sizes(self) -> Shape:
        return self.layout.sizes


class Unknown:
    """A tensor behind an operation that was refused; what needs it is not looked at."""


UNKNOWN = Unknown()
Value: TypeAlias = Any  # Signal, Constant, Potential, a tuple of them, or a number


def regrouped(axes: Axes, sizes: Shape) -> Axes:
    """Distribute the atoms of `axes`, in order, over axes of other sizes.

    Sizes do not tell where an atom of size 1 between two groups belongs. It goes to the group after
    it, so that (N, 1, H, W) becomes (N, H W) with the channel on the feature axis. It goes to the
    group before it at the end, and where it is time or batch and no axis of size 1 is left for it.
    """
    atoms = [a for axis in axes for a in axis]
    found: list[list[Atom]] = []
    for i, size in enumerate(sizes):
        taken = _taken(atoms, size)
        whole = prod(a.size for a in taken)
        if whole > size:
            before = whole // taken[-1].size
            first, rest = taken[-1].split(size // before if size % before == 0 else 0)
            atoms[len(taken) - 1 : len(taken)] = first, rest
            taken[-1] = first
        elif whole < size:
            raise NotSupportedError(
                f"a reshape to {sizes}",
                "views may merge and split axes only where batch, time and features meet",
            )
        del atoms[: len(taken)]
        while size > 1 and _is_left_over(atoms, sizes[i + 1 :]):
            taken.append(atoms.pop(0))
        found.append(taken)
    if found:
        found[-1] += atoms
    return tuple(map(tuple, found))


def refined(features: tuple[Atom, ...], axes: Axes) -> tuple[Atom, ...]:
    """Features with the parts into which `axes` has split some of them."""
    there = {id(a) for axis in axes for a in axis}

    def parts(atom: Atom) -> tuple[Atom, ...]:
        if id(atom) in there:
            return (atom,)
        for pair in atom.parts.values():
            found = parts(pair[0]), parts(pair[1])
            if all(found):
                return (*found[0], *found[1])
        return ()

    return tuple(part for atom in features for part in (parts(atom) or (atom,)))


def common_parts(
    mine: tuple[Atom, ...], other: tuple[Atom, ...]
) -> tuple[tuple[Atom, ...], tuple[Atom, ...]]:
    """Split the features of two axes of one size until both have the same parts.

    Channels that one factor has as 12 heads of 32 may be 6 times 64 in the other, which was
    reshaped in between.
    """
    left, right = [*mine], [*other]
    at = [0, 0]
    while at[0] < len(left) and at[1] < len(right):
        a, b = left[at[0]], right[at[1]]
        if a.size == b.size or 1 in (a.size, b.size):
            at[0] += a.size in (b.size, 1)
            at[1] += b.size in (a.size, 1)
        elif a.size > b.size:
            left[at[0] : at[0] + 1] = a.split(b.size)
        else:
            right[at[1] : at[1] + 1] = b.split(a.size)
    return tuple(left), tuple(right)


def _taken(atoms: list[Atom], size: int) -> list[Atom]:
    """Return as many of the first atoms as make an axis of `size`."""
    # It may be an axis that was unsqueezed, which has no atom.
    if size == 1:
        return [a for a in atoms[:1] if a.size == 1]
    count = 0
    while count < len(atoms) and prod(a.size for a in atoms[:count]) < size:
        count += 1
    return atoms[:count]


def _is_left_over(atoms: list[Atom], sizes: Shape) -> bool:
    """Tell whether the first atom is time or batch of size 1 that no later axis of size 1 takes."""
    ones, places = _leading_ones(a.size for a in atoms), _leading_ones(sizes)
    return ones > places and atoms[0].role in ("time", "batch")


def _leading_ones(sizes: Iterable[int]) -> int:
    return sum(1 for _ in takewhile(lambda n: n == 1, sizes))


def feature_shape(signal: Signal, count: int, ordered: bool = True) -> Shape:
    """Return the sizes of the last `count` axes after checking that they are the features.

    Neurons and factors do the same to every element, so that they need not be `ordered`: tokens
    may lie before the channels, as linear layers take them.
    """
    inside = [a for axis in signal.axes[len(signal.axes) - count :] for a in axis]
    outside = [a for axis in signal.axes[: len(signal.axes) - count] for a in axis]
    for atom in inside:
        atom.become("feature")
    # Axes of 1 may lie anywhere: they do not change the order of numbers in memory.
    order = [a for a in signal.features if a in inside and a.size > 1]
    found = [a for a in inside if a.size > 1]
    if found != order and (ordered or signal.shape is None):
        raise NotSupportedError(
            "the features lie in another order than they were made in",
            "leave out the permute, or apply it to the weights",
        )
    # What a layer leaves of the bare input is looked at behind it (``operations.tokens``).
    bare = signal.shape is None
    if any(a.role == "feature" and a.size > 1 and not (bare and a.of_input) for a in outside):
        raise NotSupportedError(
            f"only the last {count} axes are taken as features, there are more",
            "a layer sees all features of a sample",
        )
    return signal.sizes[len(signal.axes) - count :]


def left_of_input(axis: Iterable[Atom], signal: Signal) -> list[Atom]:
    """List the atoms of an axis that are the input's, and that no layer has taken yet."""
    fresh = [a for a in axis if a.of_input and a.size > 1 and a.role in (None, "feature")]
    return [a for a in fresh if all(a is not own for own in signal.features)]


def check_same_order(a: Signal, b: Signal) -> None:
    """Refuse two signals that meet element by element, where equal sizes hide other axes."""
    pairs = list(zip(_layout(a)[::-1], _layout(b)[::-1], strict=False))
    # Roles first: what is known as time on one side is time on the other.
    for (mine, _), (other, _) in pairs:
        if mine and other and [x.size for x in mine] == [x.size for x in other]:
            for x, y in zip(mine, other, strict=True):
                _take_one_role(x, y)
        elif mine and other and prod(x.size for x in mine) != prod(x.size for x in other):
            raise _other_order()
    for (mine, ours), (other, theirs) in pairs:
        if (mine and theirs) or (other and ours):
            raise _other_order()
    # Orders may differ where one side lacks features and is broadcast; then both ascend.
    orders = [[step for (_, own) in side for step in own] for side in (_layout(a), _layout(b))]
    if orders[0] != orders[1] and not (in_order(a) and in_order(b)):
        raise _other_order()


def _layout(signal: Signal) -> list[tuple[list[Atom], list[tuple[int, int]]]]:
    """Return for each axis its batch and time atoms, and the steps of its features."""
    there = {id(atom) for atom in signal.features}
    return [
        ([x for x in axis if x.size > 1 and id(x) not in there], _steps(axis, signal.features))
        for axis in signal.axes
    ]


def _steps(axis: Iterable[Atom], features: tuple[Atom, ...]) -> list[tuple[int, int]]:
    """Return how far apart in the graph the features on an axis lie, as (step, size).

    The same for a whole axis as for its parts: channels do not mind being heads.
    """
    behind, number = dict[int, int](), 1
    for atom in reversed(features):
        behind[id(atom)] = number
        number *= atom.size
    steps = list[tuple[int, int]]()
    for atom in axis:
        if atom.size == 1 or id(atom) not in behind:
            continue
        step, size = behind[id(atom)], atom.size
        if steps and steps[-1][0] == step * size:
            size *= steps.pop()[1]
        steps.append((step, size))
    return steps


def in_order(signal: Signal) -> bool:
    """Tell whether the features lie in the order in which they were made."""
    steps = [step for _, own in _layout(signal) for step, _ in own]
    return steps == sorted(steps, reverse=True)


def _take_one_role(a: Atom, b: Atom) -> None:
    if a.role is not None:
        b.become(a.role)
    elif b.role is not None:
        a.become(b.role)


def in_graph_order(signal: Signal, values: Array) -> Array:
    """Values (.., features) in the order of the signal's axes, put into the graph's order."""
    order = [a for axis in signal.axes for a in axis if a in signal.features and a.size > 1]
    places = [order.index(a) for a in signal.features if a.size > 1]
    lead = values.shape[:-1]
    apart = values.reshape(*lead, *(a.size for a in order))
    moved = (*range(len(lead)), *(len(lead) + place for place in places))
    return apart.transpose(moved).reshape(values.shape)


def _other_order() -> NotSupportedError:
    return NotSupportedError(
        "what is put together element by element has its axes in another order",
        "permute both alike, or neither",
    )


def known(signal: Signal, count: int, ordered: bool = True) -> Signal:
    """Return the signal with its shape in the graph, which for the bare input is found here."""
    view = feature_shape(signal, count, ordered)
    if signal.shape is not None:
        return signal
    atoms = tuple(a for axis in signal.axes[len(signal.axes) - count :] for a in axis)
    # An axis of 1 that was unsqueezed has no atom, but is a channel of an image all the same.
    shape = view if len(view) == 3 else image_shape(tuple(a.size for a in atoms) or view)
    if signal.seen is not None and len(view) == 3:
        signal.seen.become(shape)
    return replace(signal, features=atoms, shape=shape)


def image_shape(sizes: Shape) -> Shape:
    """Give the source three axes: (F,) becomes (F, 1, 1), and (C, L) becomes (C, 1, L)."""
    # Maps of the graph take images, so that a vector is channels of one pixel.
    if len(sizes) == 1:
        return (sizes[0], 1, 1)
    return (sizes[0], 1, sizes[1]) if len(sizes) == 2 else sizes


def has_tokens(signal: Signal) -> bool:
    """Whether there are features on other axes than the last one."""
    before = [a for axis in signal.axes[:-1] for a in axis if a.size > 1]
    return signal.shape is not None and any(a in signal.features for a in before)


def has_all_turned(signal: Signal) -> bool:
    """Whether all features lie on the last axis, in another order than they were made in."""
    there = [a for a in signal.axes[-1] if a.size > 1]
    own = [a for a in signal.features if a.size > 1]
    return signal.shape is not None and there != own and set(there) == set(own)


def trailing(signal: Signal) -> int:
    """Count the axes that hold features; for the bare input, take what such inputs usually have."""
    if signal.shape is None:
        marked = [i for i, axis in enumerate(signal.axes) if any(a.role == "feature" for a in axis)]
        # (N, F), (N, C, H, W), and frames of it with time before or behind the batch.
        usual = {2: 1, 4: 3, 5: 3}.get(len(signal.axes), 1)
        return len(signal.axes) - marked[0] if marked else usual
    mine = set(map(id, signal.features))
    first = next(
        (i for i, axis in enumerate(signal.axes) if any(id(a) in mine for a in axis)),
        len(signal.axes),
    )
    return len(signal.axes) - first
