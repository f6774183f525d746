"""NIR's neurons in discrete time: how much of a potential a timestep keeps, what an input adds.

The equations are taken by forward Euler over a timestep dt, as snnTorch, SpikingJelly and Norse
read NIR files:

======  ==============================================================  =========================
node    equation                                                        timestep
======  ==============================================================  =========================
IF, I   dv/dt = R I                                                     v += R dt I
LIF,    tau dv/dt = (v_leak - v) + R I                                  v = (1 - d) v + d (v_leak
LI                                                                      + R I), d = dt / tau
Cuba-   the same, with tau_syn dI/dt = -I + w_in S                      I = (1 - e) I + e w_in S
LIF                                                                     first, e = dt / tau_syn
======  ==============================================================  =========================

With ``exact``, d = 1 - exp(-dt / tau), which is right for an input that is constant during a
timestep. Potentials are measured from v_reset, so that a hard reset goes to 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io.nir.file import NirModel, NirNode
from seenn_deploy.ir.nodes.base import Parameter, common

SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
INTEGRATORS = ("I", "LI", "CubaLI")
# Files hold float32, so gains, time constants and delays that are as close as this are equal.
CLOSE = 1e-6
Integration = Literal["euler", "exact"]
Reset = Literal["hard", "soft"]


@dataclass(frozen=True, eq=False)
class NirNeuron:
    """The parameters of a population or readout, and the factors on its inputs.

    Parameters
    ----------
    tau, tau_syn, v_threshold, v_init : float, or array of one number per neuron
    reset_by : float, optional
        What a spike takes off the potential; 0 where it leaves the potential as it is.
    gain, bias : float64 array, () or one number per neuron
        Factor on the inputs, and what every timestep adds.
    """

    tau: Parameter
    gain: Array
    bias: Array
    tau_syn: Parameter = 0.0
    v_threshold: Parameter = 1.0
    v_init: Parameter = 0.0
    reset_by: float | None = None


def with_detectors(model: NirModel) -> NirModel:
    """Merge integrators that only Thresholds read into these, as neurons that never reset.

    The integrator of such a Threshold is among the Threshold's values, as ``below``.
    """
    below = dict[str, NirNode]()
    for node in model.nodes.values():
        read_by = [b for a, b in model.edges if a == node.name]
        if node.kind in INTEGRATORS and all(
            model.nodes[b].kind == "Threshold" and model.before(b) == [node.name] for b in read_by
        ):
            below |= dict.fromkeys(read_by, node)
    gone = {node.name for node in below.values()}
    nodes = {
        name: replace(n, values={**n.values, "below": below[name]}) if name in below else n
        for name, n in model.nodes.items()
        if name not in gone
    }
    kept = [e for e in model.edges if gone.isdisjoint(e)]
    moved = [(a, name) for name, node in below.items() for a in model.before(node.name)]
    return replace(model, nodes=nodes, edges=(*kept, *moved))


def infer_dt(nodes: Iterable[NirNode], report: FidelityReport) -> float:
    """Find the timestep in which an input moves the potential by exactly itself, R dt / tau = 1.

    snnTorch and SpikingJelly write their files like that, and Sinabs its IF neurons.

    Raises
    ------
    RefusedError
        When neurons disagree, or when no neuron would keep any of its potential.
    """
    found = [(n, _unit_steps(n)) for n in nodes if n.kind in SPIKING + INTEGRATORS]
    steps = np.concatenate([np.ravel(s) for _, s in found] or [np.ones(0)])
    if not len(steps):
        return 1.0
    dt = float(f"{steps.flat[0]:.6g}")  # the number that was meant before float32 rounded it
    agree = np.all(np.isfinite(steps)) and dt > 0 and np.allclose(steps, dt, rtol=1e-5, atol=0)
    taus = [
        np.ravel(n.values[key]) for n, _ in found for key in ("tau", "tau_mem") if key in n.values
    ]
    leaky = [n for n, _ in found if n.kind not in ("IF", "I")]
    # Where dt is tau nothing is left of a potential: hardly what an LIF was trained for.
    vanishing = (
        leaky
        and len(leaky) == len(found)
        and bool(taus)
        and np.concatenate(taus).max() <= dt * 1.00001
    )
    if not agree or vanishing:
        where = leaky[0].where if leaky else found[0][0].where
        report.refuse(
            where,
            "has constants from which no timestep follows",
            "give dt in the file's unit of time (--dt 0.001)",
        )
    return dt


def _unit_steps(node: NirNode) -> Array:
    """Return the timesteps for which the gains of a node are 1."""
    v = {k: np.asarray(x, np.float64) for k, x in node.values.items() if k != "v_reset"}
    with np.errstate(divide="ignore", invalid="ignore"):
        if node.kind in ("IF", "I"):
            return np.atleast_1d(1 / v["r"])
        if node.kind in ("LIF", "LI"):
            return np.atleast_1d(v["tau"] / v["r"])
        if node.kind == "Threshold":
            return np.ones(0)
        return np.stack(
            [np.atleast_1d(v["tau_mem"] / v["r"]), np.atleast_1d(v["tau_syn"] / v["w_in"])]
        )


def check_numbers(nodes: Iterable[NirNode], report: FidelityReport) -> None:
    """Refuse parameters of neurons that are not finite, and time constants that are not positive.

    Raises
    ------
    RefusedError
        When there is one of these.
    """
    for node in nodes:
        for name, value in node.values.items() if node.kind in SPIKING + INTEGRATORS else ():
            with report.gathering():
                _check_number(node, name, value, report)
    report.stop()


def _check_number(node: NirNode, name: str, value: Any, report: FidelityReport) -> None:
    if not (isinstance(value, np.ndarray) and value.dtype.kind in "fiub"):
        report.refuse(node.where, f"{name} holds no numbers", "export it again")
    if not np.all(np.isfinite(value)):
        report.refuse(node.where, f"{name} holds NaN or infinity", "export it again")
    if name.startswith("tau") and np.any(value <= 0):
        report.refuse(node.where, f"{name} = {np.min(value):g}", "it must be positive")


class Discretisation:
    """The method by which neurons become difference equations.

    Parameters
    ----------
    dt : float
    integration : 'euler' or 'exact'
    reset : 'hard' or 'soft'
    report : FidelityReport
    """

    def __init__(self, dt: float, integration: Integration, reset: Reset, report: FidelityReport):
        self.dt, self.integration, self.reset, self.report = dt, integration, reset, report

    def neuron(self, node: NirNode) -> NirNeuron:
        """Discretise a node of `SPIKING` or `INTEGRATORS`.

        Raises
        ------
        RefusedError
            When its parameters allow no equation that the graph can express.
        """
        if node.kind == "Threshold":
            return self._spiking(node, self._below(node), _array(node, "threshold"), np.zeros(()))
        reset = _array(node, "v_reset") if node.kind in SPIKING else np.zeros(())
        if self.reset == "soft" and np.any(reset):
            self.report.refuse(
                node.where,
                "has a v_reset other than 0, which a soft reset ignores",
                "import it with reset='hard'",
            )
        found = self._integrating(node, reset)
        if node.kind in INTEGRATORS:
            return found
        return self._spiking(node, found, _array(node, "v_threshold"), reset)

    def shape(self, node: NirNode) -> Shape | None:
        """Return the shape of the parameters; None where scalars serve any number of neurons."""
        known = {"Threshold": "threshold"}.get(node.kind, "r")
        shape = np.shape(node.values[known])
        return shape if np.prod(shape, dtype=int) != 1 or len(shape) > 1 else None

    def _below(self, node: NirNode) -> NirNeuron:
        """Return the neuron that a Threshold compares: its integrator, or the bare input."""
        below = node.values.get("below")
        if below is None:
            return NirNeuron(0.0, np.ones(()), np.zeros(()))
        shapes = self.shape(node), self.shape(below)
        if None not in shapes and shapes[0] != shapes[1]:
            self.report.refuse(
                node.where,
                f"takes shape {shapes[0]}, {below.name!r} gives {shapes[1]}",
                "make the shapes agree",
            )
        return replace(self._integrating(below, np.zeros(())), reset_by=0.0)

    def _integrating(self, node: NirNode, reset: Array) -> NirNeuron:
        """Discretise without a threshold; potentials are measured from `reset`."""
        if node.kind in ("IF", "I"):
            return NirNeuron(1.0, _snapped(_array(node, "r") * self.dt), np.zeros(()))
        tau_name = "tau" if node.kind in ("LIF", "LI") else "tau_mem"
        taken = self._share(node, tau_name)
        gain = _array(node, "r") * taken
        rest = (_array(node, "v_leak") - reset) * taken
        tau_syn: Parameter = 0.0
        if node.kind in ("CubaLIF", "CubaLI"):
            entering = self._share(node, "tau_syn")
            gain, tau_syn = gain * _array(node, "w_in") * entering, _left(entering)
            if np.any(tau_syn) and np.any(rest):
                self.report.refuse(
                    node.where,
                    "has a v_leak other than its v_reset",
                    "put it into the bias of the layer before",
                )
        return NirNeuron(_left(taken), _snapped(gain), rest, tau_syn)

    def _share(self, node: NirNode, name: str) -> Parameter:
        """Return the share of a state that a timestep replaces: dt / tau, or 1 - exp(-dt / tau)."""
        taus = _array(node, name)
        first = float(np.ravel(taus)[0])
        tau = first if np.allclose(taus, first, rtol=CLOSE, atol=0) else taus
        if self.integration == "exact":
            return common(np.asarray(-np.expm1(-self.dt / tau)))
        if self.dt / np.min(tau) > 1 + CLOSE:
            self.report.refuse(
                node.where,
                f"{name} = {np.min(tau):g} is shorter than a timestep of "
                f"{self.dt:g}, which forward Euler cannot take",
                "give a smaller dt, or integration='exact'",
            )
        return common(np.minimum(self.dt / tau, 1.0))

    def _spiking(
        self, node: NirNode, neuron: NirNeuron, threshold: Array, reset: Array
    ) -> NirNeuron:
        """Give all neurons one threshold, by scaling the inputs of those that have another.

        Thresholds that are not all positive stay as they are: no factor makes one of the other.
        """
        height = threshold - (0 if self.reset == "soft" else reset)
        found, times = np.unique(height, return_counts=True)
        # The commonest threshold stays, so that the fewest weights are scaled.
        frequent = float(found[np.argmax(times)])
        start = -reset if self.reset == "hard" else np.zeros(())
        gain, bias = neuron.gain, neuron.bias
        level = common(height)
        if np.any(height != frequent) and height.min() > 0:
            scale, level = frequent / height, frequent
            gain, bias, start = gain * scale, bias * scale, start * scale
            self.report.faithful(
                node.where,
                f"thresholds {height.min():g} to {height.max():g} "
                f"became {frequent:g}: inputs scaled, up to rounding",
            )
        # The sum turns -0.0 into 0.0, which reports and files would show.
        first = float(np.ravel(start)[0]) + 0.0
        v_init = first if np.allclose(start, first) else start
        return replace(neuron, gain=gain, bias=bias, v_threshold=level, v_init=v_init)


def _array(node: NirNode, name: str) -> Array:
    return np.asarray(node.values[name], np.float64)


def _left(taken: Parameter) -> Parameter:
    """Return what a share leaves; 0 where the rest is rounding."""
    left = 1 - np.asarray(taken)
    return common(np.where(left < 1e-12, 0.0, left))


def _snapped(gain: Any) -> Array:
    """Set gains to 1 where they differ from it only by the rounding of float32 constants."""
    gain = np.asarray(gain, np.float64)
    close = np.where(np.abs(gain - 1) < CLOSE, 1.0, gain)
    return np.asarray(close.flat[0] if close.size and np.all(close == close.flat[0]) else close)
