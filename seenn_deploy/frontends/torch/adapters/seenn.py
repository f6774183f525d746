"""SEENN's ``LIFSpike`` and ``PLIF``, known by their attributes, as in other code based on TET.

``v' = tau v + x;  s = act(v' - thresh);  v = (1 - s) v'`` over input (N, T, ..).
"""

from __future__ import annotations

from typing import Any

from seenn_deploy.frontends.torch.adapters.base import (
    Neuron,
    UnsupportedError,
    comparison_of,
    parameter,
)

KNOWN = ("LIFSpike", "PLIF")  # and what has their attributes


def matches(layer: Any) -> bool:
    """Tell whether a layer has SEENN's attributes."""
    return all(hasattr(layer, name) for name in ("thresh", "tau", "act", "gama"))


def describe(layer: Any) -> Neuron:
    """Describe the layer as a neuron."""
    import torch

    if hasattr(layer, "get_lifp"):
        raise UnsupportedError("its leak depends on the input (SEENN's DynamicLIF)")
    learned = isinstance(layer.tau, torch.Tensor)
    # PLIF learns the leak through a sigmoid (arXiv 2007.05785).
    tau = torch.sigmoid(layer.tau.detach()) if learned else layer.tau
    return Neuron(
        tau=parameter(tau, "tau"),
        v_threshold=parameter(layer.thresh, "thresh"),
        comparison=comparison_of(lambda x: layer.act(x, layer.gama)),
        time_axis=1,
        formula="v' = tau v + x, v = (1 - s) v'",
    )
