"""Norse's LIF, LIFBox, IAF, LI and LIBox, both layers over (T, N, ..) and cells.

``LIFRecurrentCell`` is an ``LIFCell`` of ``W x + R s``, with its spikes s of the timestep before;
``LILinearCell`` is an ``LICell`` of ``W x``.

With a = dt ``tau_mem_inv``, b = dt ``tau_syn_inv``::

    i' = i + x;  v' = v + a (v_leak - v + i');  i = (1 - b) i'        LIF
    v' = v + a (x + v_leak - v)                                       LIFBox
    v' = v + x                                                        IAF
    s = v' > v_th;  v = v_reset where it spiked

``LI`` and ``LIBox`` are ``LIF`` and ``LIFBox`` without a threshold: they are readouts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from seenn_deploy.frontends.torch.adapters import base
from seenn_deploy.ir.nodes.base import Parameter

_CELLS = ("LIFCell", "LIFRecurrentCell", "LIFBoxCell", "IAFCell")
_READOUTS = ("LI", "LICell", "LILinearCell", "LIBoxCell")
KNOWN = ("LIF", "IAF", *_CELLS, *_READOUTS)
_FAMILY = ("SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell", "LILinearCell")


def matches(layer: Any) -> bool:
    """Tell whether a layer is a neuron of Norse, supported or not."""
    return base.from_package(layer, "norse", *_FAMILY)


def describe(layer: Any) -> base.Neuron:
    """Describe the layer as a neuron."""
    kind, p = type(layer).__name__, layer.p
    if not base.is_exactly(layer, "norse", KNOWN):
        raise base.UnsupportedError(f"of Norse's neurons, {', '.join(KNOWN)} are supported")
    if getattr(layer, "record_states", False):
        raise base.UnsupportedError("record_states=True; leave it out")
    reset_method = getattr(p, "reset_method", None)
    if reset_method is not None and reset_method.__name__ != "reset_value":
        raise base.UnsupportedError(f"reset method {reset_method.__name__}; use reset_value")
    weights, recurrent = (_linear(layer, name) for name in ("input_weights", "recurrent_weights"))
    if kind in _READOUTS:
        return replace(_reading_out(kind, p, layer.dt), weights=weights)
    neuron = _integrating(kind, p, layer.dt)
    neuron = replace(neuron, weights=weights, recurrent=recurrent, keeps_spikes=True)
    if np.any(neuron.tau_syn) and np.any(neuron.shift):
        raise base.UnsupportedError("v_leak differs from v_reset, beside a synaptic current")
    return neuron


def states(layer: Any) -> int:
    """Return 1: Norse's neurons return all their states in one tuple."""
    return 1


def _linear(layer: Any, name: str) -> Any | None:
    """Return a layer's own weights as a linear layer, if it has them."""
    weights = getattr(layer, name, None)
    if weights is None:
        return None
    import torch

    linear = torch.nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    linear.weight = torch.nn.Parameter(weights.detach())
    return linear


def _reading_out(kind: str, p: Any, dt: float) -> base.Neuron:
    """Describe a readout, which has no threshold and begins at 0."""
    if np.any(base.parameter(p.v_leak, "v_leak")):
        raise base.UnsupportedError("a readout with v_leak other than 0")
    share = dt * base.parameter(p.tau_mem_inv, "tau_mem_inv")
    return base.Neuron(
        tau=1 - share,
        v_threshold=1.0,
        tau_syn=_current(p, dt),
        gain=share,
        time_axis=None if kind.endswith("Cell") else 0,
        batch_axis=1,
        forgets=True,
        reads_out=True,
        sends_potential=True,
        exact=False,
        formula="v' = v + dt tau_mem_inv (i - v)",
    )


def _current(p: Any, dt: float) -> Parameter:
    """Return the share of a synaptic current that a timestep leaves."""
    return (
        1 - dt * base.parameter(p.tau_syn_inv, "tau_syn_inv") if hasattr(p, "tau_syn_inv") else 0.0
    )


def _integrating(kind: str, p: Any, dt: float) -> base.Neuron:
    whole = kind.startswith("IAF")
    share: Parameter = 0.0 if whole else dt * base.parameter(p.tau_mem_inv, "tau_mem_inv")
    leak, reset = (
        0.0 if whole else base.parameter(p.v_leak, "v_leak"),
        base.parameter(p.v_reset, "v_reset"),
    )
    neuron = base.Neuron(
        tau=1 - share,
        v_threshold=base.parameter(p.v_th, "v_th"),
        # Norse starts IAF at v_reset, and what leaks at v_leak.
        v_init=reset if whole else leak,
        tau_syn=_current(p, dt),
        gain=1.0 if whole else share,
        time_axis=None if kind.endswith("Cell") else 0,
        batch_axis=1,
        forgets=True,
        exact=whole,
        formula="v' = v + x" if whole else "v' = v + dt tau_mem_inv (v_leak - v + i)",
    )
    # A hard reset goes to 0 in the graph, so potentials are measured from v_reset.
    return replace(neuron.measured_from(reset), shift=share * (leak - reset))
