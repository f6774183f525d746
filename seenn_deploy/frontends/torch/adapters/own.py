"""Our own ``LIF`` (``training.models.neurons``): ``v' = tau v + x`` over (N, T, ..)."""

from __future__ import annotations

from typing import Any

from seenn_deploy.frontends.torch.adapters.base import Neuron, from_package

KNOWN = ("LIF",)


def matches(layer: Any) -> bool:
    """Tell whether a layer is our LIF."""
    return from_package(layer, "seenn_deploy", "LIF")


def describe(layer: Any) -> Neuron:
    """Describe the layer as a neuron."""
    return Neuron(
        tau=layer.tau,
        v_threshold=layer.v_threshold,
        comparison=">=" if layer.surrogate == "dspike" else ">",
        time_axis=1,
        formula="v' = tau v + x, v = (1 - s) v'",
    )
