"""snnTorch's ``Leaky``, ``Lapicque``, ``RLeaky``, ``Synaptic`` and ``RSynaptic``.

With r[t] = s[t-1], because the reset comes one timestep late::

    mem[t] = beta mem[t-1] + x[t] - threshold r[t]      'subtract'
    mem[t] = beta (1 - r[t]) mem[t-1] + x[t]            'zero', only of Leaky
    s[t] = mem[t] > threshold

So 'zero' is a hard reset, and 'subtract' a soft reset by threshold / beta, before the next leak.
``Synaptic`` adds syn[t] = alpha syn[t-1] + x[t] in place of x[t], ``RLeaky`` a current from its own
spikes of the timestep before, ``RSynaptic`` both. ``Lapicque`` has 1 - dt / (R C) for beta and
x[t] dt / C for x[t]. Their 'zero' also drops the current of the timestep that resets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy.frontends.torch.adapters import base
from seenn_deploy.ir.nodes.base import Parameter, common

KNOWN = ("Leaky", "Lapicque", "RLeaky", "Synaptic", "RSynaptic")


def matches(layer: Any) -> bool:
    """Tell whether a layer is a neuron of snnTorch, supported or not."""
    parts = base.from_package(layer, "snntorch", "RecurrentOneToOne")
    return base.from_module(layer, "snntorch._neurons") and not parts


def describe(layer: Any) -> base.Neuron:
    """Describe the layer as a neuron."""
    kind = type(layer).__name__
    if not base.is_exactly(layer, "snntorch", KNOWN):
        raise base.UnsupportedError(f"of snnTorch's neurons, {', '.join(KNOWN)} are supported")
    for option in ("inhibition", "state_quant"):
        if getattr(layer, option):
            raise base.UnsupportedError(f"{option} is not supported; leave it out")
    beta, gain = _resistive(layer) if kind == "Lapicque" else (_leak(layer.beta, "beta"), 1.0)
    threshold = base.parameter(layer.threshold, "threshold")
    mechanism = layer.reset_mechanism
    if mechanism == "zero" and kind != "Leaky":
        raise base.UnsupportedError(
            "reset_mechanism='zero' drops the input of the timestep that resets; use 'subtract'"
        )
    recurrent = layer.recurrent if kind in ("RLeaky", "RSynaptic") else None
    if recurrent is not None and layer.init_hidden:
        raise base.UnsupportedError(
            "init_hidden=True keeps the spikes that it feeds back to itself; hand spk and mem on"
        )
    late = getattr(layer, "reset_delay", True)
    if kind == "RSynaptic" and not late:
        raise base.UnsupportedError("reset_delay=False, which snnTorch does not do; leave it out")
    return base.Neuron(
        tau=beta,
        v_threshold=threshold,
        reset="hard" if mechanism == "zero" else "soft",
        reset_by=_subtracted(mechanism, beta, threshold, late),
        comparison=base.comparison_of(layer.spike_grad),
        tau_syn=_leak(layer.alpha, "alpha") if hasattr(layer, "alpha") else 0.0,
        gain=gain,
        sends=base.scalar(layer.graded_spikes_factor, "graded_spikes_factor"),
        reads_out=mechanism == "none",
        recurrent=recurrent,
        exact=mechanism == "zero",
        formula=f"mem = beta mem + x, reset {mechanism!r}{', one timestep late' if late else ''}",
        approximations=_approximations(mechanism, late),
    )


def states(layer: Any) -> int:
    """Count the states after the spikes; a layer that keeps them itself returns none."""
    if getattr(layer, "init_hidden", False) and not layer.output:
        return 0
    return {"Synaptic": 2, "RSynaptic": 2, "Alpha": 3}.get(type(layer).__name__, 1)


def _leak(value: Any, name: str) -> Parameter:
    # snnTorch clamps it at every call.
    return common(np.clip(base.parameter(value, name), 0.0, 1.0))


def _resistive(layer: Any) -> tuple[Parameter, Parameter]:
    """Return the leak of a circuit with resistance and capacitance, and the factor on its input."""
    step, r, c = (base.parameter(getattr(layer, name), name) for name in ("time_step", "R", "C"))
    return 1 - step / (r * c), step / c


def _subtracted(
    mechanism: str, beta: Parameter, threshold: Parameter, late: bool
) -> Parameter | None:
    """Return what a soft reset subtracts when a neuron spikes."""
    if mechanism == "zero":
        return None
    if mechanism == "none":
        return 0.0
    if not late:
        return threshold
    if not np.all(beta):
        raise base.UnsupportedError("reset_mechanism='subtract' with beta = 0; use 'zero'")
    return threshold / beta  # one timestep late: the leak comes first, and shrinks it to threshold


def _approximations(mechanism: str, late: bool) -> tuple[tuple[str, str], ...]:
    if late or mechanism != "subtract":
        return ()
    return (
        (
            "reset_delay=False as a soft reset",
            "differs after potentials beyond twice the threshold, which snnTorch resets twice",
        ),
    )
