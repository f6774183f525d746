"""Live torch modules, through ``torch.export``, with spiking layers of any known framework.

Each spiking layer is one opaque operator while the module is exported, so that no time loop is
unrolled inside it. The adapters describe the layers, the other files of this folder read the rest.
docs/torch.md lists what is understood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seenn_deploy.fidelity import LEFT_OUT, FidelityReport, Proof, RefusedError
from seenn_deploy.frontends.base import Net, normalize_input
from seenn_deploy.io.images.spec import Range
from seenn_deploy.ir.graph import Population, Source, SpikingGraph
from seenn_deploy.ir.provenance import Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seenn_deploy.frontends.torch.assembly import Assembly
    from seenn_deploy.frontends.torch.layers import Layer
    from seenn_deploy.frontends.torch.values import Value
    from seenn_deploy.frontends.torch.walk import Walk

SUFFIXES: tuple[str, ...] = ()

Coding = Literal["direct", "events"]


def read(
    module: nn.Module,
    example_input: Tensor,
    T: int | None = None,
    coding: Coding | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    check: bool = True,
    output: int | str | None = None,
) -> SpikingGraph:
    """Read the graph of a module.

    Parameters
    ----------
    module : torch module
        The network. It is copied, so its own state stays as it is.
    example_input : Tensor
        A batch that the module takes: images, or frames with a time axis if the layers have one.
    T : int, optional
        Number of timesteps. It is required where the module computes a single timestep; elsewhere
        it is the module's own by default.
    coding : 'direct' or 'events', optional
        For a module that computes a single timestep: whether it gets the same image at every
        timestep ('direct', the default) or a frame of its own. Elsewhere it is found.
    mean, std : sequence of one number per channel, optional
        Normalisation ``(x - mean) / std`` before the module, which becomes part of the program.
    check : bool
        Prove the graph: run the module itself and compare every spike and logit
        (``frontends.torch.self_check``). Without it the report says "not proven".
    output : int or str, optional
        Which of several outputs holds the logits: a number in a tuple, a key of a dict.

    Raises
    ------
    ModelError
        When the module does something that a graph cannot express; the message names the operator
        or layer, and the line.
    """
    from seenn_deploy.frontends.torch.assembly import Assembly
    from seenn_deploy.frontends.torch.layers import with_opaque_layers

    report = FidelityReport(type(module).__name__)
    _check_given(module, example_input, T, report)
    # Code that torch.compile has made does not look at hooks: the module behind it is run.
    module = getattr(module, "_orig_mod", module)
    opaque, layers = with_opaque_layers(module, report)
    if not layers:
        report.refuse(
            "module", "no spiking layer in it", "docs/torch.md names those that are known"
        )
    example = example_input.float() if example_input.is_floating_point() else example_input
    walk, outputs, example = _walked(module, opaque, layers, example, T, report)
    source = _source(walk, coding)
    assembly = Assembly(walk, source.shape, output, T)
    nodes, projections = assembly.graph(outputs)
    # The pattern of a neuron is for sources whose layers are alike; here each brings its own.
    net = Net(source, Population("", ()))
    net.nodes += nodes
    net.projections += projections
    steps = _timesteps(walk, T)
    if check:
        proof = _prove(module, example, walk, assembly, net, steps)
    else:
        report.proven(proof := Proof(why=LEFT_OUT))
    net.source = net.nodes[0] = replace(source, real_range=_real_range(example_input))
    used = normalize_input(net, mean, std, True)
    if steps > 1 and walk.one_step:
        _check_states_go_out(walk, outputs)
    assumed = {
        "T": steps, "coding": source.coding, "input_shape": list(source.shape), **used
    }  # fmt: skip
    provenance = Provenance(
        type(module).__name__, "torch", "torch module", assumed, report.to_dict(),
        proof=proof.to_dict(),
    )  # fmt: skip
    return SpikingGraph(net.nodes, net.projections, steps, provenance)


def _prove(
    module: nn.Module, example: Tensor, walk: Walk, assembly: Assembly, net: Net, steps: int
) -> Proof:
    """Compare the graph with the module, over the timesteps that the module itself does."""
    from seenn_deploy.frontends.torch.self_check import Subject, prove

    own = steps
    if walk.one_step and any(x.neuron and x.neuron.forgets for x in walk.layers):
        own = 1  # whoever calls the module hands the states on; nobody does here
        walk.report.faithful("self-check", "of the first timestep: the caller keeps the states")
    axes = tuple(str(a.role or "batch") for a in walk.input)
    graph = SpikingGraph(net.nodes, net.projections, own)
    return prove(Subject(module, example, walk, graph, assembly.output, axes), walk.report)


def _check_given(module: Any, example_input: Any, T: Any, report: FidelityReport) -> None:
    """Refuse arguments that cannot be traced at all, and a T that is no whole number."""
    from torch import Tensor, nn

    if not isinstance(module, nn.Module):
        report.refuse(getattr(module, "__name__", "module"), "no torch module", "give an instance")
    import torch

    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            report.refuse(
                path or "module", "TorchScript, which cannot be traced", "give the module it is of"
            )
        forward = vars(part).get("forward")
        if getattr(forward, "__closure__", None) and not type(part).__module__.startswith("torch"):
            report.refuse(
                path or type(part).__name__, "its forward was replaced by another function",
                "a copy would still run the original: put it into the module's class",
            )  # fmt: skip
    for name, weights in module.named_parameters():
        if isinstance(weights, torch.nn.parameter.UninitializedParameter):
            report.refuse(name, "has no values yet", "run the module once on the example before")
        if not weights.is_meta and not bool(weights.isfinite().all()):
            report.refuse(name, "holds NaN or infinity", "train it anew, or load other weights")
    if any(t.is_meta for t in (*module.parameters(), *module.buffers())):
        report.refuse("module", "weights on the meta device have no values", "load them first")
    if not isinstance(example_input, Tensor):
        found = type(example_input).__name__
        report.refuse("example_input", f"found {found}", "give one torch tensor that it takes")
    if not example_input.numel():
        report.refuse("example_input", f"no samples in {list(example_input.shape)}", "give some")
    if T is not None and not isinstance(T, int | np.integer):
        report.refuse("T", f"{T!r}", "give a whole number of timesteps")


def _real_range(example_input: Tensor) -> Range | None:
    """Smallest and largest value of the example, where some are not whole numbers."""
    if not example_input.is_floating_point() or bool(
        (example_input == example_input.round()).all()
    ):
        return None
    return float(example_input.min()), float(example_input.max())


def _walked(
    module: nn.Module, opaque: nn.Module, layers: list[Layer], example: Tensor, T: int | None,
    report: FidelityReport,
) -> tuple[Walk, list[Value], Tensor]:  # fmt: skip
    """Walk the module on several samples, or on one where it takes no more; return that input."""
    from seenn_deploy.frontends.torch.layers import likely_batch, several_samples

    batch = likely_batch(example, layers)
    several = several_samples(example, batch)
    if several is not example:
        # What a try that fails has found is not said of the network.
        trial = FidelityReport(report.subject, report.findings)
        try:
            walk, outputs = _walked_on(module, opaque, layers, several, T, trial)
        except RefusedError as error:
            doubled: RefusedError | None = error
        else:
            doubled = None
            # The axis was guessed; what turns out to be time has been doubled by mistake.
            if walk.input[batch].role != "time":
                report.findings, walk.report = trial.findings, report
                return walk, outputs, example
        try:
            return *_walked_on(module, opaque, layers, example, T, report), example
        except RefusedError as alone:
            # What stands in the way of both is best said of the sizes that were not mistaken.
            where = alone.report.findings[-1].where
            same = doubled is not None and doubled.report.findings[-1].where == where
            raise (doubled if doubled and same else alone) from None
    return *_walked_on(module, opaque, layers, example, T, report), example


def _walked_on(
    module: nn.Module, opaque: nn.Module, layers: list[Layer], example: Tensor, T: int | None,
    report: FidelityReport,
) -> tuple[Walk, list[Value]]:  # fmt: skip
    """Walk one call of the module, or several if a call goes on from what another left."""
    from seenn_deploy.frontends.torch.states import CALLS
    from seenn_deploy.frontends.torch.tracing import export
    from seenn_deploy.frontends.torch.values import Constant
    from seenn_deploy.frontends.torch.walk import Walk

    program, resets = export(opaque, example, report)
    walk = Walk(program, layers, report)
    outputs = walk.outputs()
    if walk.one_step and T is not None and T > 1:
        kept, states = _states_of(module, layers, example, report)
        if kept or states or resets or any(walk.charges):
            # A few timesteps show the rule by which states change; the proof then runs all T.
            calls = min(T, CALLS)
            program, _ = export(opaque, example, report, calls)
            walk = Walk(program, layers, report, calls, states)
            outputs = walk.outputs()
        for name in kept:
            report.faithful(name, "a state of the module's own; every sample begins with it anew")
    if all(value is None or isinstance(value, Constant) for value in outputs):
        report.refuse(
            "output", "it depends on no input", "return the last layer's spikes or currents"
        )
    return walk, outputs


def _states_of(
    module: nn.Module, layers: list[Layer], example: Tensor, report: FidelityReport
) -> tuple[list[str], int]:
    """Run the module once: name what it keeps, and count the states that it hands on."""
    from torch import no_grad

    from seenn_deploy.frontends.torch import states
    from seenn_deploy.frontends.torch.tracing import place_of_error

    runner = states.own_copy(module)
    states.starts_of(runner, layers)
    before = states.kept_by(runner, layers)
    try:
        with no_grad():
            result = runner(example.clone())
    except Exception as error:  # whatever the user's code raises
        first = str(error).partition("\n")[0]
        report.refuse(
            place_of_error(error, runner),
            f"the module itself fails ({type(error).__name__}: {first})",
            f"it must run on the example, {tuple(example.shape)}",
        )
    found = states.changed(states.kept_by(runner, layers), before)
    forgets = any(x.neuron and x.neuron.forgets for x in layers)
    return found, 0 if forgets else len(states.handed_on(runner, result))


def _source(walk: Walk, coding: Coding | None) -> Source:
    """Make the source: its shape from the input's features, its coding from the time axis."""
    from seenn_deploy.frontends.torch.values import SOURCE, image_shape

    timed = [a for a in walk.input if a.role == "time"]
    lead = [a for a in walk.input if a.role in (None, "batch")]
    if len(timed) > 1 or len(lead) != 1:
        walk.report.refuse(
            SOURCE,
            f"which of its axes {[a.size for a in walk.input]} are batch, time and features is "
            "not clear",
            "give (N, ..) images, or frames with one time axis that a layer or a loop goes over",
        )
    shape = walk.seen.shape or image_shape(tuple(a.size for a in walk.input if a.role == "feature"))
    found: Coding = "events" if timed else "direct"
    if coding not in (None, "direct", "events"):
        walk.report.refuse(SOURCE, f"coding {coding!r}", "there is 'direct' and 'events'")
    if coding is not None and coding != found and (timed or not walk.one_step):
        walk.report.refuse(SOURCE, f"coding {coding!r}", f"this module's input is {found!r}")
    return Source(SOURCE, shape, coding or found)


def _timesteps(walk: Walk, T: int | None) -> int:
    """Return T as asked for, or the module's own."""
    own = _own_timesteps(walk)
    if T is None and own is None:
        walk.report.refuse("T", "the module does one timestep", "say how many: T=4")
    if T is not None and own is not None and own != T:
        if not any(a.role == "time" for a in walk.input):
            walk.report.refuse(
                "T",
                f"{T} asked, the module itself does {own} in each call: as often it calls its "
                "spiking layers",
                f"leave T out, let the module do {T}, or take a spiking layer for each place",
            )
        walk.report.faithful("T", f"{T} as asked; the example has {own}")
    return int(T if T is not None else own or 1)


def _check_states_go_out(walk: Walk, outputs: list[Value]) -> None:
    """Refuse modules of a single timestep that drop their layers' states after it.

    What a recurrent layer feeds back is in a state that no trace of one timestep shows.
    """
    from seenn_deploy.frontends.torch.values import Potential

    for layer, calls in zip(walk.layers, walk.calls, strict=True):
        if calls and layer.neuron and layer.neuron.forgets and layer.neuron.recurrent is not None:
            walk.report.refuse(
                walk.places.get(layer.name, layer.name),
                "a recurrent layer of which the caller keeps the state",
                "loop over timesteps in forward, and hand its state on there",
            )
    kept = {value.layer for value in outputs if isinstance(value, Potential)}
    for number, (layer, calls) in enumerate(zip(walk.layers, walk.calls, strict=True)):
        if calls and layer.neuron and layer.neuron.forgets and number not in kept:
            walk.report.refuse(
                layer.name,
                "its state is dropped after each timestep",
                "return it beside the spikes, or loop over timesteps in forward",
            )


def _own_timesteps(walk: Walk) -> int | None:
    if walk.traced > 1:
        return None
    streams, calls = walk.stream_lengths, walk.call_counts
    if len(streams | calls) > 1:
        walk.report.refuse(
            "T", f"layers do {sorted(streams | calls)} timesteps", "all layers take part in each"
        )
    if streams:
        return streams.pop()
    (count,) = calls or {1}
    given = [a.size for a in walk.input if a.role == "time"]
    if given and given[0] != count:
        walk.report.refuse(
            "T", f"the input has {given[0]} timesteps, the module takes {count}", "take all of them"
        )
    return None if count == 1 and not given else count
