"""Fidelity reports of imports, put together from the graph that a frontend made."""

from __future__ import annotations

from math import isfinite

from seenn_deploy.ir.graph import Population, Readout, SpikingGraph, Sum, Target


def layer_text(graph: SpikingGraph, node: Target) -> str:
    """A layer in words: the maps of its inputs, then its neurons."""
    inputs = [", ".join(step.text for step in edge.maps) for edge in graph.into(node.name)]
    return f"{' + '.join(inputs)}; {neuron_text(node)}"


def neuron_text(node: Target) -> str:
    """Neurons, a sum or a readout in words: LIF, tau 0.5, V 1, hard reset."""
    if isinstance(node, Sum):
        return "spikes added"
    if isinstance(node, Readout):
        current = f", synaptic current {node.tau_syn:.6g}" if node.tau_syn else ""
        return ("summed" if node.tau == 1 else f"leaky, tau {node.tau:.6g}") + current
    return ", ".join(_neuron_parts(node))


def _neuron_parts(node: Population) -> list[str]:
    parts = ["IF" if node.tau == 1 else f"LIF, tau {node.tau:.6g}"]
    parts += [f"synaptic current {node.tau_syn:.6g}"] if node.tau_syn else []
    parts += [f"V {node.v_threshold:.6g}"] if isfinite(node.v_threshold) else []
    parts += [f"from {node.v_init:.6g}"] if node.v_init else []
    changed = node.reset == "soft" and node.subtracted != node.v_threshold
    parts += [f"{node.reset} reset" + (f" by {node.subtracted:.6g}" if changed else "")]
    return parts + ([node.comparison] if node.comparison != ">" else [])
