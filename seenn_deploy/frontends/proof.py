"""A graph beside what it was made from: the comparison that every frontend's proof is made of.

Of a live module the original is the module itself (``torch.self_check``). A file has none; what
runs beside its graph is our own torch model of the network, or onnxruntime.

Each layer is judged by itself: its potentials are recomputed from the spikes that the *original*
sent, so the first layer that differs is the one to blame. float32 confirms the spikes of nearly
every layer; what it does not confirm, float64 decides. A potential that lies within rounding of its
threshold is a tie and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from seenn_deploy import ir, plugins
from seenn_deploy._typing import Array
from seenn_deploy.compiler.conversion import forward
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.fidelity import FidelityReport, Proof
from seenn_deploy.frontends.base import Net
from seenn_deploy.io.state_dict import Tensors
from seenn_deploy.ir.replay import fires, potentials, rounded_potentials

LOUDER = (1.0, 4.0, 16.0)  # random probes are scaled by these until every layer has spiked
# The original rounds batch norms and leaks that the graph has folded: by more than the bound of
# `replay.potentials`, which is of the folded arithmetic.
SLACK, NEAR = 16.0, 1e-5
# Where the values of two ANNs are compared: of a layer's largest activation, and of the largest
# before it, whose rounding adds up over layers and stays when large terms cancel.
ALIKE, ROUNDED = 1e-4, 3e-5


@dataclass
class Comparison:
    """The sums of what has been compared so far.

    Parameters
    ----------
    graph : SpikingGraph
        What was made of the source, its input as the source takes it: without normalisation.
    report : FidelityReport
        What a difference is refused in.
    original : str
        What the graph is compared with, in the words of its user: 'the module'.
    places : mapping of layer to str
        Where a layer is called, for messages; its name alone by default.
    """

    graph: ir.SpikingGraph
    report: FidelityReport
    original: str = "the module"
    places: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0
    compared: int = 0
    ties: int = 0
    spikes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = compile(self.graph, Fixed()).graph

    @property
    def complete(self) -> bool:
        """Whether every layer has spiked."""
        return all(self.spikes.values())

    @property
    def least(self) -> int:
        """How many samples have to be compared at least."""
        return _least(self.graph)

    def proof(self, by: str) -> Proof:
        """What has been compared, as a proof."""
        return Proof(
            by, "", self.samples, self.graph.T, self.compared, self.ties, dict(self.spikes)
        )

    def add(
        self, image: Array, spikes: Mapping[str, Array], logits: Array | None, causes: str,
        skipped: Collection[str] = (),
    ) -> None:  # fmt: skip
        """Compare one sample, layer by layer, and then its logits.

        Parameters
        ----------
        image : array (C, H, W), for event coding (T, C, H, W)
        spikes : mapping of bool (T, *shape)
            Spikes of the populations as the original sends them.
        logits : float64 (T, M), optional
            Its logits, or those of its last timesteps alone.
        causes : str
            A guess at why the two differ, if they do.
        skipped : names
            Populations that are known to differ.

        Raises
        ------
        RefusedError
            For the first layer, timestep and neuron that differ.
        """
        own = dict(spikes)
        self.samples += 1
        for node in self.graph.populations:
            if node.name not in skipped:
                self._add_layer(node, image, own, causes)
        if logits is not None:
            self._add_logits(image, own, logits, causes)

    def _add_layer(
        self, node: ir.Population, image: Array, own: dict[str, Array], causes: str
    ) -> None:
        traced = node.name in own
        if not traced:  # a maximum of spikes: a neuron of ours, without a state
            own[node.name] = np.zeros((self.graph.T, *node.shape), np.bool_)
        rounded = rounded_potentials(self.graph, node, image, own)
        fired = fires(node, rounded)
        if not traced:
            own[node.name] = fired
            return
        self.compared += fired.size
        self.spikes[node.name] = self.spikes.get(node.name, 0) + int(own[node.name].sum())
        differ = fired != own[node.name]
        if not differ.any():
            return
        # float32 is off by the bound at most, so what lies as near to the threshold here as a tie
        # may without any rounding is one.
        distance = np.abs(rounded - node.v_threshold)
        if not (differ & ~(distance <= NEAR * np.abs(node.v_threshold))).any():
            self.ties += int(differ.sum())
            return
        found = potentials(self.graph, node.name, image, own)
        value, differ = found.value, fires(node, found.value) != own[node.name]
        near = SLACK * found.bound + NEAR * np.abs(node.v_threshold)
        wrong = differ & (np.abs(value - node.v_threshold) > near)
        self.ties += int(differ.sum() - wrong.sum())
        if wrong.any():
            t, *place = (int(i) for i in np.argwhere(wrong)[0])
            does = "spikes" if own[node.name][(t, *place)] else "does not spike"
            threshold = np.broadcast_to(node.v_threshold, node.shape)[tuple(place)]
            self.report.refuse(
                self.places.get(node.name, node.name),
                f"{self.original}'s neuron {tuple(place)} {does} at timestep {t + 1}, where the "
                f"graph's potential is {value[(t, *place)]:.6g} and the threshold "
                f"{threshold:.6g}",
                causes,
            )

    def _add_logits(self, image: Array, own: dict[str, Array], theirs: Array, causes: str) -> None:
        name = self.graph.readout.name
        found = potentials(self.graph, name, image, own)
        ours, bound = found.value[-len(theirs) :], found.bound[-len(theirs) :]
        allowed = SLACK * bound + NEAR * max(1.0, float(np.abs(ours).max()))
        # Negated, so that NaN is wrong.
        wrong = ~(np.abs(ours - theirs) <= allowed)
        if wrong.any():
            t, k = (int(i) for i in np.argwhere(wrong)[0])
            self.report.refuse(
                self.places.get(name, name),
                f"logit {k} at timestep {self.graph.T - len(theirs) + t + 1} is "
                f"{theirs[t, k]:.6g} of {self.original} and {ours[t, k]:.6g} of the graph, all "
                "spikes being equal",
                causes,
            )


# --- files, which have no module to ask ----------------------------------------------------------

Run: TypeAlias = Callable[[Array], tuple[dict[str, Array], Array]]
"""From images (N, ..) to every layer's spikes (N, T, ..) or activations (N, ..), and the logits."""
SAMPLES = 2  # at least; a louder one is added where a layer is silent
MANY = 4e9  # multiply-accumulates of a sample, from which on one has to do: it takes seconds
MODELS = "our own torch model of it"


def prove_checkpoint(net: Net, tensors: Tensors, T: int) -> Proof:
    """Compare what a frontend read from a state_dict with a torch model of the same tensors.

    Raises
    ------
    RefusedError
        Where they differ.
    """
    graph = ir.SpikingGraph(net.nodes, net.projections, T)
    run, why = _torch_model("spiking", tensors, graph)
    if run is None:
        return Proof(why=why)
    found = Comparison(graph, FidelityReport(str(tensors.path)), MODELS)
    for image in probes(graph):
        spikes, logits = run(image[None])
        found.add(image, {name: x[0] for name, x in spikes.items()}, logits[0], _OURS)
        if found.samples >= found.least and found.complete:
            break
    return found.proof(MODELS)


def prove_ann_checkpoint(ann: ir.SpikingGraph, tensors: Tensors) -> Proof:
    """Compare the checkpoint of an ANN, before its conversion; errors as `prove_checkpoint`."""
    run, why = _torch_model("ann", tensors, ann)
    if run is None:
        return Proof(why=why)
    images = probes(ann)
    theirs, logits = run(images)
    theirs[ann.readout.name] = logits
    return prove_ann(ann, images, theirs, FidelityReport(str(tensors.path)), MODELS, _OURS)


def prove_ann(
    ann: ir.SpikingGraph, images: Array, theirs: Mapping[str, Array], report: FidelityReport,
    original: str, causes: str,
) -> Proof:  # fmt: skip
    """Compare the activations and logits (N, ..) of an ANN, as far as known, with the graph's.

    `images` are those of :func:`probes`, normalised; the graph takes perhaps pixels. Louder ones
    are compared where a layer is silent.

    Raises
    ------
    RefusedError
        For the first layer whose values differ by more than rounding.
    """
    active, compared, samples = dict[str, int](), 0, 0
    for n in range(len(images)):
        samples += 1
        largest = 1.0
        for name, ours in forward(ann, _pixels(ann.source, images[n : n + 1])):
            largest = max(largest, float(np.abs(ours).max()))
            if name != ann.readout.name:
                active[name] = active.get(name, 0) + int((ours > 0).sum())
            if name in theirs:
                compared += ours.size
                allowed = max(ALIKE * float(np.abs(ours).max()), ROUNDED * largest)
                other = theirs[name][n].reshape(ours.shape)
                _check_alike(name, ours, other, allowed, report, original, causes)
        if samples >= _least(ann) and all(active.values()):
            break
    return Proof(f"{original}, before its conversion", "", samples, 0, compared, 0, active)


def _pixels(source: ir.Source, images: Array) -> Array:
    """Undo the normalisation that is a part of the graph."""
    mean, std = source.normalization or (0.0, 1.0)
    scale, shift = (np.asarray(x, np.float64).reshape(-1, 1, 1) for x in (std, mean))
    return np.asarray(images * scale + shift)


def _check_alike(
    name: str, ours: Array, theirs: Array, allowed: float, report: FidelityReport, original: str,
    causes: str,
) -> None:  # fmt: skip
    wrong = ~(np.abs(ours - theirs) <= allowed)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        report.refuse(
            name,
            f"{original} gives {theirs[place]:.6g} at {place[1:]}, the graph {ours[place]:.6g}",
            causes,
        )


_OURS = "this is a fault of seenn-deploy: report it, or take the graph as it is with check=False"


def _torch_model(kind: str, tensors: Tensors, graph: ir.SpikingGraph) -> tuple[Run | None, str]:
    """The torch model of a state_dict, or the reason why there is none."""
    try:
        originals = plugins.load("training", "models", main="originals")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None, "torch is not installed (pip install 'seenn-deploy[torch]')"
    return getattr(originals, kind)(tensors.arrays, graph), "there is no torch model of it here"


def _least(graph: ir.SpikingGraph) -> int:
    macs = graph.T * sum(edge.dense_macs for edge in graph.projections)
    return SAMPLES if macs < MANY else 1


def probes(graph: ir.SpikingGraph) -> Array:
    """Noise as of normalised images, or frames of events, each louder than the last; float32."""
    source, rng, images = graph.source, np.random.default_rng(0), list[Array]()
    for factor in LOUDER:
        if source.coding == "events":
            images.append(rng.poisson(0.2 * factor, (graph.T, *source.shape)))
        else:
            images.append(factor * rng.standard_normal(source.shape))
    return np.array(images, np.float32)
