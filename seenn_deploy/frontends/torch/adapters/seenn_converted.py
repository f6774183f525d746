"""``IFNeuron`` of SEENN's ANN conversion (QCFS): it starts at 1/2, and has a soft reset by 1.

``v' = v + x;  s = v' > 1;  v = v' - s``, one timestep per call. The module around it,
``ScaledNeuron``, divides its input and multiplies its spikes by a scale; both become part of the
weights.
"""

from __future__ import annotations

from typing import Any

from seenn_deploy.frontends.torch.adapters.base import Neuron

KNOWN = ("IFNeuron",)


def matches(layer: Any) -> bool:
    """Tell by name and attributes whether a layer is SEENN's ``IFNeuron``."""
    return type(layer).__name__ == "IFNeuron" and all(hasattr(layer, n) for n in ("mem", "t"))


def describe(layer: Any) -> Neuron:
    """Describe the layer as a neuron."""
    return Neuron(
        tau=1.0, v_threshold=1.0, v_init=0.5, reset="soft", formula="v' = v + x, v = v' - s"
    )
