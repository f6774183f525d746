"""What stands beside a spiking network's energy: the same network as an ANN, and its policy.

The same network is taken with the dense multiply-accumulates of its trained layers, padding
included, as papers count them; biases, residual adds, pooling and activations are left out, for
the quantised network too. That favours the ANN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.costs.model import CostModel, LayerSizes


@dataclass(frozen=True)
class Comparison:
    """One sample's figures; energies in joules, None where the cost model prices no ANN.

    Parameters
    ----------
    dense_macs : int
        Of one forward pass of the network as an ANN.
    dense_energy, quantized_energy : float, optional
    bits : int
        Of the quantised ANN's activations: as many levels as T timesteps of spikes can tell apart.
    policy_macs : int
        0 without a policy network.
    policy_energy : float, optional
    policy_mac_share : float
        Policy MACs over the network's dense MACs: how papers report a policy's overhead.
    policy_energy_share : float, optional
        Policy energy over policy and spiking network together: what it is in the sum one pays.
    """

    dense_macs: int
    dense_energy: float | None
    bits: int
    quantized_energy: float | None
    policy_macs: int
    policy_energy: float | None
    policy_mac_share: float
    policy_energy_share: float | None

    def summary(self) -> dict[str, Any]:
        """The figures as JSON values, energies in microjoules."""
        return {
            "dense_ann_mac": self.dense_macs,
            "dense_ann_energy_uJ": _micro(self.dense_energy),
            "quantized_ann_bits": self.bits,
            "quantized_ann_energy_uJ": _micro(self.quantized_energy),
            "policy_mac": self.policy_macs,
            "policy_energy_uJ_per_sample": _micro(self.policy_energy),
            "policy_mac_share": self.policy_mac_share,
            "policy_energy_share": self.policy_energy_share,
        }


def compare(
    cost: CostModel,
    sizes: LayerSizes,
    T: int,
    snn_energy: float,
    policy: LayerSizes | None = None,
) -> Comparison:
    """Price the same network as an ANN, and a policy network.

    Parameters
    ----------
    cost : CostModel
    sizes : LayerSizes
        Of the spiking network.
    T : int
        Timesteps at most.
    snn_energy : float
        Mean energy of a sample in joules, without the policy.
    policy : LayerSizes, optional
        Of the policy network, which runs once a sample as a dense 32-bit ANN.
    """
    bits = activation_bits(T)
    dense, few = ann_energy(cost, sizes), ann_energy(cost, sizes, bits)
    policy_energy = ann_energy(cost, policy) if policy else 0.0
    macs, policy_macs = (int(s.dense_macs.sum()) if s else 0 for s in (sizes, policy))
    return Comparison(
        macs,
        dense,
        bits,
        few,
        policy_macs,
        policy_energy,
        policy_macs / macs if macs else 0.0,
        None if policy_energy is None else _share(policy_energy, snn_energy),
    )


def activation_bits(T: int) -> int:
    """Bits that tell 0..T spikes apart: ceil(log2(T + 1)), without rounding errors."""
    return int(T).bit_length()


def ann_energy(cost: CostModel, sizes: LayerSizes, bits: int | None = None) -> float | None:
    """Energy in joules of one dense forward pass, None where the cost model prices no ANN.

    Every multiply-accumulate costs the model's ``mac``. With `bits`, activations of that many bits
    are multiplied bit by bit: each set bit adds the shifted weight, so a multiply-accumulate is at
    most `bits` accumulates, and never dearer than the multiplier itself. All bits are taken as set
    and shifts as free. Both ways a memory model charges one weight fetch a multiply-accumulate, as
    for a spiking network's synaptic operation (the bits of one activation share it), and the
    weights are as wide as the spiking network's.
    """
    if cost.no_ann:
        return None
    price = cost.layer_prices(sizes)["mac"]
    if bits is not None:
        arithmetic = min(bits * cost.prices["ac"], cost.prices["mac"])
        price = price + (arithmetic - cost.prices["mac"]) * 1e-12
    return float(np.sum(sizes.dense_macs * price))


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part else 0.0


def _micro(joules: float | Array | None) -> float | None:
    return None if joules is None else float(joules) * 1e6


__all__ = ["Comparison", "activation_bits", "ann_energy", "compare"]
