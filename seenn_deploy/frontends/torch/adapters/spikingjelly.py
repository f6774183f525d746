"""SpikingJelly's ``IFNode``, ``LIFNode`` and ``ParametricLIFNode``, single-step and multi-step.

With r = ``v_reset`` (0 for a soft reset), q = 1 / ``tau``, or sigmoid(w) of a ParametricLIFNode::

    v' = v + (x - (v - r)) q     decay_input        s = surrogate(v' - v_threshold), at 0 as well
    v' = v - (v - r) q + x       otherwise          v = r where it spiked, or v' - v_threshold s

Potentials are measured from r. SpikingJelly computes the leak as written here, and a population as
``(1 - q) v + q x``, so they round differently.

SpikingJelly before 0.0.0.0.13 (``clock_driven``) calls those of several timesteps
``MultiStepLIFNode`` and alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy.frontends.torch.adapters.base import (
    Delay,
    Neuron,
    UnsupportedError,
    UnsupportedLayerError,
    comparison_of,
    from_module,
    from_package,
    is_exactly,
    parameter,
)
from seenn_deploy.ir.nodes.base import Parameter

_STREAMS = ("MultiStepIFNode", "MultiStepLIFNode", "MultiStepParametricLIFNode")
KNOWN = (
    "IFNode",
    "LIFNode",
    "ParametricLIFNode",
    "OTTTLIFNode",
    "SLTTLIFNode",
    "save_v_LIFNode",
    *_STREAMS,
)
_WITH_MEMORY = {
    "SynapseFilter": "a synapse filter whose forward is not SpikingJelly's own may do anything",
    "Delay": "a delay whose forward is not SpikingJelly's own may do anything",
}
_ATTENTION = ("TemporalWiseAttention", "MultiDimensionalAttention")
_NEURONS = ("spikingjelly.activation_based.neuron", "spikingjelly.clock_driven.neuron")


def matches(layer: Any) -> bool:
    """Tell whether a layer is a neuron of SpikingJelly, or keeps something; supported or not."""
    if from_package(layer, "spikingjelly", *_WITH_MEMORY):
        return delay(layer) is None
    if from_package(layer, "spikingjelly", *_ATTENTION):
        return True
    return any(from_module(layer, path) for path in _NEURONS)


def delay(layer: Any) -> Delay | None:
    """Return what a layer of SpikingJelly's class ``Delay`` does."""
    if not is_exactly(layer, "spikingjelly", ("Delay",)) or "forward" in vars(layer):
        return None
    return Delay(layer.delay_steps, layer.step_mode == "m")


def without_gpu(layer: Any) -> None:
    """Let a layer compute with torch's own operators: cupy's and triton's kernels need a GPU."""
    if getattr(layer, "backend", "torch") != "torch":
        layer.backend = "torch"


def describe(layer: Any) -> Neuron:
    """Describe the layer as a neuron."""
    name = type(layer).__name__
    kind = name.removeprefix("MultiStep")
    if is_exactly(layer, "spikingjelly", ("SynapseFilter",)):
        return _filter(layer)
    if from_package(layer, "spikingjelly", *_ATTENTION):
        raise UnsupportedLayerError(
            "its attention multiplies currents by a sigmoid of themselves; products of spikes "
            "alone can be taken"
        )
    if from_package(layer, "spikingjelly", *_WITH_MEMORY):
        raise UnsupportedError(_WITH_MEMORY.get(name, f"{name} keeps values between timesteps"))
    if not is_exactly(layer, "spikingjelly", KNOWN):
        raise UnsupportedError(f"of SpikingJelly's neurons, {', '.join(KNOWN)} are supported")
    if kind != "IFNode" and not hasattr(layer, "decay_input"):
        raise UnsupportedError("it has no decay_input; SpikingJelly 0.0.0.0.14 or later is needed")
    decay, formula = _decay(layer, kind)
    hard = layer.v_reset is not None
    neuron = Neuron(
        tau=1 - decay,
        v_threshold=parameter(layer.v_threshold, "v_threshold"),
        v_init=_start(layer),
        reset="hard" if hard else "soft",
        comparison=comparison_of(layer.surrogate_function),
        gain=decay if np.any(decay) and layer.decay_input else 1.0,
        shift=decay * layer.v_reset if hard else 0.0,
        time_axis=0 if name in _STREAMS or getattr(layer, "step_mode", "s") == "m" else None,
        batch_axis=1,
        exact=not np.any(decay),
        formula=formula,
    )
    return neuron.measured_from(layer.v_reset or 0.0)


def _filter(layer: Any) -> Neuron:
    leak = layer.w.detach().sigmoid() if layer.learnable else 1 / layer.tau
    return Neuron(
        tau=1 - parameter(leak, "tau"),
        v_threshold=1.0,
        filters=True,
        time_axis=0 if layer.step_mode == "m" else None,
        batch_axis=1,
        formula="i' = i - (1 - x) i / tau + x",
    )


def _decay(layer: Any, kind: str) -> tuple[Parameter, str]:
    """Return the share of the potential that a timestep takes away, and the equation."""
    if kind == "IFNode":
        return 0.0, "v' = v + x"
    formula = "v' = v + (x - v) / tau" if layer.decay_input else "v' = v - v / tau + x"
    if kind != "ParametricLIFNode":
        return 1 / parameter(layer.tau, "tau"), formula
    return parameter(layer.w.detach().sigmoid(), "w"), formula.replace("/ tau", "sigmoid(w)")


def _start(layer: Any) -> float:
    """Return the potential before the first timestep: the one set, or that after a reset."""
    v = layer.v
    if not isinstance(v, float | int):
        v = layer.v_reset or 0.0
    return float(v)
