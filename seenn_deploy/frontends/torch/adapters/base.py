"""Spiking layers of other frameworks as neurons of ours: one small file per framework.

An adapter is found by its file name. It has ``matches(layer) -> bool`` and
``describe(layer) -> Neuron``, which raises :class:`UnsupportedError` for a layer of its framework
whose dynamics :class:`~seenn_deploy.ir.graph.Population` does not have. Where layers return states
after their spikes, ``states(layer) -> int`` says how many; ``delay(layer) -> Delay | None`` names
the layers that are no neurons and hold their input back; ``without_gpu(layer)`` sets a copy to
kernels that run on a CPU. Adapters import no framework: they look
at the names of a layer's classes and at its attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import numpy as np

from seenn_deploy import plugins
from seenn_deploy.ir.nodes.base import Parameter, common, shown

_ROOM = "frontends/torch/adapters"


class UnsupportedError(Exception):
    """A spiking layer does something that no population can; the message says what."""

    what = "neuron"


class UnsupportedLayerError(UnsupportedError):
    """A layer of a framework that is no neuron does something that no graph can."""

    what = "layer"


@dataclass(frozen=True)
class Neuron:
    """A spiking layer with ``v' = tau v + gain x + shift``; the rest is as in a population.

    tau, tau_syn, v_threshold, v_init, reset_by, gain and shift are one number for all neurons, or
    an array that torch would broadcast to the layer's input.

    Parameters
    ----------
    tau, v_threshold, v_init, reset, reset_by, comparison, tau_syn
        As in :class:`~seenn_deploy.ir.graph.Population`.
    gain : float
        Factor on the input current.
    shift : float
        Current that is added at every timestep.
    sends : float
        Value of a spike.
    time_axis : int, optional
        Axis of the input that is time; None for a layer that takes one timestep per call.
    batch_axis : int
        Axis of the input that is the batch, where there is a time axis.
    forgets : bool
        Whether a call without states begins a new sample.
    reads_out : bool
        Whether the potential is never reset; if the module returns it, it is a leaky readout.
    sends_potential : bool
        Whether the result is the potential itself: the layer has no threshold and is a readout.
    filters : bool
        Whether it is no neuron but a synapse filter, of which only `tau` counts: it sends its
        current ``i' = i - (1 - x) (1 - tau) i + x``.
    weights : module, optional
        Module of the layer's own that its input goes through first.
    recurrent : module, optional
        Module that turns the spikes of the timestep before into a current.
    keeps_spikes : bool
        Whether these are in the state that the layer returns; else they are its first argument
        behind the input.
    rest : float
        Potential of the layer that is 0 here.
    exact : bool
        Whether potentials are summed in our order, so that they are also rounded alike.
    formula : str
        The equation, for the report.
    approximations : tuple of (what, by)
        The differences to a population, and their size.
    """

    tau: Parameter
    v_threshold: Parameter
    v_init: Parameter = 0.0
    reset: Literal["hard", "soft"] = "hard"
    reset_by: Parameter | None = None
    comparison: Literal[">", ">="] = ">"
    tau_syn: Parameter = 0.0
    gain: Parameter = 1.0
    shift: Parameter = 0.0
    sends: float = 1.0
    time_axis: int | None = None
    batch_axis: int = 0
    forgets: bool = False
    reads_out: bool = False
    sends_potential: bool = False
    filters: bool = False
    weights: Any = None
    recurrent: Any = None
    keeps_spikes: bool = False
    rest: Parameter = 0.0
    exact: bool = True
    formula: str = ""
    approximations: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        for name in ("tau", "tau_syn"):
            value = getattr(self, name)
            if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
                raise UnsupportedError(f"{name} = {shown(value)} lies outside [0, 1]")
        if not (np.all(np.isfinite(self.v_threshold)) and np.min(self.v_threshold) > 0):
            raise UnsupportedError(
                f"threshold {shown(self.v_threshold)} above the resting potential: it must be "
                "positive"
            )

    @property
    def differs(self) -> bool:
        """Whether a parameter differs between the neurons of the layer."""
        return any(isinstance(value, np.ndarray) for value in vars(self).values())

    def starts_at(self, potential: float) -> bool:
        """Tell whether a sample begins with this potential, in the layer's own units."""
        return bool(np.all(potential == self.v_init + self.rest))

    def measured_from(self, potential: Parameter) -> Neuron:
        """Measure potentials from `potential`, so that the neuron resets to 0."""
        if not np.any(potential):
            return self
        return replace(
            self,
            v_threshold=self.v_threshold - potential,
            v_init=self.v_init - potential,
            rest=self.rest + potential,
            shift=self.shift - (1 - self.tau) * potential,
        )


@dataclass(frozen=True)
class Delay:
    """A layer that gives what it was given `steps` timesteps before, and zeros until then.

    Parameters
    ----------
    steps : int
    stream : bool
        Whether it takes all timesteps at once, on axis 0.
    """

    steps: int
    stream: bool


@cache
def _adapters() -> tuple[Any, ...]:
    return tuple(plugins.load(_ROOM, name) for name in plugins.names(_ROOM, without=("base",)))


def adapter_of(layer: Any) -> Any | None:
    """Return the adapter of a layer's framework; None if the layer is not a spiking one."""
    return next((a for a in _adapters() if a.matches(layer)), None)


def delay_of(layer: Any) -> Delay | None:
    """Return the delay that a layer is; None if it is none."""
    found = (a.delay(layer) for a in _adapters() if hasattr(a, "delay"))
    return next((delay for delay in found if delay is not None), None)


def from_package(layer: Any, package: str, *classes: str) -> bool:
    """Tell by names alone whether a layer is of one of these classes or of a subclass."""
    return any(
        c.__name__ in classes and c.__module__.split(".")[0] == package for c in type(layer).__mro__
    )


def from_module(layer: Any, path: str) -> bool:
    """Tell whether a layer's class, or one of its bases, is defined inside a module or package."""
    return any(f"{c.__module__}.".startswith(f"{path}.") for c in type(layer).__mro__)


def is_exactly(layer: Any, package: str, classes: tuple[str, ...]) -> bool:
    """Tell whether a layer is of one of these classes; a subclass may compute something else."""
    return type(layer).__name__ in classes and type(layer).__module__.split(".")[0] == package


def parameter(value: Any, name: str) -> Parameter:
    """Return a parameter as one number, or as an array where it differs from neuron to neuron."""
    import torch

    values = torch.as_tensor(value, dtype=torch.float64).detach().cpu().numpy()
    if not values.size:
        raise UnsupportedError(f"{name} has no values")
    return common(values)


def scalar(value: Any, name: str) -> float:
    """Return a parameter that all neurons of a layer have to share."""
    found = parameter(value, name)
    if isinstance(found, np.ndarray):
        raise UnsupportedError(
            f"{name} differs from neuron to neuron; neurons of a layer share one value"
        )
    return found


def comparison_of(spike: Callable[[Any], Any]) -> Literal[">", ">="]:
    """Find out what a spike function does at the threshold itself, by calling it there."""
    import torch

    try:
        with torch.no_grad():
            below, at, above = (float(v) for v in spike(torch.tensor([-1.0, 0.0, 1.0])))
    except Exception as error:  # whatever the user's function raises
        first = str(error).partition("\n")[0]
        raise UnsupportedError(
            f"its spike function cannot be asked ({type(error).__name__}: {first})"
        ) from None
    if (below, above) != (0.0, 1.0) or at not in (0.0, 1.0):
        raise UnsupportedError(
            f"its spike function gives {below:g}, {at:g} and {above:g} below, at and above the "
            "threshold; spikes are 0 and 1"
        )
    return ">=" if at else ">"
