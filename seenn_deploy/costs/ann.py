"""What stands beside a spiking network's energy: the same network as an ANN, and its policy.

As papers count it, the ANN costs the dense multiply-accumulates of the trained layers, padding
included. Biases, residual adds, pooling and activations are left out, in the quantised network
too. That favours the ANN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seenn_deploy._typing import Array
from seenn_deploy.costs.model import Cost, LayerSizes


@dataclass(frozen=True)
class Comparison:
    """Figures per sample; energies are in joules, None where the cost model prices no ANN.

    Parameters
    ----------
    dense_macs : int
        Multiply-accumulates of one forward pass of the network as an ANN.
    dense_energy, quantized_energy : float, optional
        Energy of that forward pass, with 32-bit and with quantised activations.
    bits : int
        Width of the quantised ANN's activations, which have as many levels as T timesteps of
        spikes can tell apart.
    policy_macs : int
        Multiply-accumulates of the policy network, 0 without one.
    policy_energy : float, optional
        Energy of the policy network.
    policy_mac_share : float
        Policy MACs over the network's dense MACs, which is how papers report the overhead.
    policy_energy_share : float, optional
        Policy energy over the energy of policy and spiking network together, which is the sum
        that one pays.
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
        """Return the figures as JSON values, energies in microjoules."""
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
    cost: Cost,
    sizes: LayerSizes,
    T: int,
    snn_energy: float,
    policy: LayerSizes | None = None,
) -> Comparison:
    """Price the same network as an ANN, and the policy network beside it.

    Parameters
    ----------
    cost : Cost
    sizes : LayerSizes
        Sizes of the spiking network's layers.
    T : int
        Largest number of timesteps.
    snn_energy : float
        Mean energy per sample in joules, without the policy.
    policy : LayerSizes, optional
        Sizes of the policy network's layers; it runs once per sample as a dense 32-bit ANN.
    """
    bits = activation_bits(T)
    dense, few = ann_energy(cost, sizes), ann_energy(cost, sizes, bits)
    policy_energy = ann_energy(cost, policy) if policy else 0.0
    macs, policy_macs = (int(s.dense_macs.sum()) if s else 0 for s in (sizes, policy))
    share = policy_energy  # of the sum; 0 without a policy, None where it has no price
    if policy_energy:
        share = policy_energy / (policy_energy + snn_energy)
    return Comparison(
        macs,
        dense,
        bits,
        few,
        policy_macs,
        policy_energy,
        policy_macs / macs if macs else 0.0,
        share,
    )


def activation_bits(T: int) -> int:
    """Return the bits that tell 0..T spikes apart, ceil(log2(T + 1)) without rounding errors."""
    return int(T).bit_length()


def ann_energy(cost: Cost, sizes: LayerSizes, bits: int | None = None) -> float | None:
    """Return the joules of one dense forward pass, None where the cost model prices no ANN.

    Every multiply-accumulate costs the model's ``mac``. With `bits`, activations of that many bits
    are multiplied bit by bit: each set bit adds the shifted weight, so a multiply-accumulate is at
    most `bits` accumulates, and never dearer than the multiplier itself. All bits are taken as set
    and shifts as free. In both cases a memory model charges what one multiply-accumulate of a
    spiking network moves, the weight and in some models the activation, whose bits share the
    fetch. The weights are as wide as the spiking network's.
    """
    return cost.ann(sizes, bits)


def _micro(joules: float | Array | None) -> float | None:
    return None if joules is None else float(joules) * 1e6


__all__ = ["Comparison", "activation_bits", "ann_energy", "compare"]
