"""Three networks under other tools' conventions: their operations, their joules, every reason.

A dense network, a convolutional one whose norms are folded, and the ResNet of examples/ run as
torch modules with SpikingJelly's neurons. SpikingJelly's SimpleEnergyProfiler and
LemaireEnergyProfiler and NeuroBench's synaptic operations count for themselves; beside them stand
the exact counts of the same module, imported, under the cost models `spikingjelly` and
`spikingjelly-lemaire`. Each reason for a difference is computed apart, from the tensors that torch
saw; what none explains is printed.

    make bench-tools    # into .venv: the bench extra, and SpikingJelly without its dependencies
    python benchmarks/conventions.py [--images 5]
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from math import ceil, prod

import _seenn_torch
import counters
import torch
from _seenn_torch import ResNet19
from rich.console import Console
from rich.table import Table
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import seenn_deploy as sd
from seenn_deploy import costs
from seenn_deploy.simulator.result import RunResult

T = 4
WORD = 4  # bytes


# --- the networks ------------------------------------------------------------------------------


def lif() -> LIFNode:
    """V' = v / 2 + current, hard reset: the neurons of SEENN."""
    return LIFNode(tau=2.0, decay_input=False, v_threshold=1.0, v_reset=0.0)


class Steps(nn.Module):
    """Layers in a row, run T times; the logits are the sum."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        z = self.layers(x)
        for _ in range(T - 1):
            z = z + self.layers(x)
        return z


def dense() -> nn.Module:
    torch.manual_seed(0)
    sizes = (3072, 256, 128)
    layers = [x for a, b in pairwise(sizes) for x in (nn.Linear(a, b), lif())]
    return Steps(nn.Flatten(), *layers, nn.Linear(sizes[-1], 10))


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for c_in, c_out, stride in ((3, 16, 1), (16, 32, 2), (32, 32, 1)):
        norm = nn.BatchNorm2d(c_out).eval()
        nn.init.uniform_(norm.bias, 0.1, 0.5)
        nn.init.uniform_(norm.weight, 1.0, 2.0)
        conv = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False).eval()
        layers += [fuse_conv_bn_eval(conv, norm), lif()]
    return Steps(*layers, nn.Flatten(), nn.Linear(32 * 256, 10))


class OneStep(nn.Module):
    """A timestep of the trained network of examples/."""

    def __init__(self, net: ResNet19) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.step(x)


def shipped() -> nn.Module:
    net = _seenn_torch.load(counters.CHECKPOINT, T)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, _seenn_torch.Lif):
                setattr(module, name, lif())
    return Steps(OneStep(net))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense, 3072-256-128-10": dense,
    "convolutional, norms folded": convolutional,
    "ResNet-19 of width 1, shipped": shipped,
}


# --- what is counted ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Operations, words fetched as weights and biases, and accesses to neurons' states."""

    ac: float = 0
    mac: float = 0
    weights: float = 0
    biases: float = 0
    states: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Work) -> Work:
        return self + Work(*(-getattr(other, f.name) for f in fields(self)))

    @property
    def microjoules(self) -> float:
        """Energy by the prices of SpikingJelly's simple model."""
        model = costs.load("spikingjelly")
        assert model.memory is not None
        word = float(model.memory.word_price("weights", 1))
        words = self.weights + self.biases + self.states
        return 1e-6 * (self.ac * model.prices["ac"] + self.mac * model.prices["mac"] + words * word)


def synaptic(ac: float = 0, mac: float = 0) -> Work:
    """Each of these operations fetches a weight."""
    return Work(ac, mac, ac + mac)


def ours(run: RunResult) -> Work:
    """The exact counts of all images together."""
    total = {name: int(values.sum()) for name, values in run.charged.items()}
    updates = total["updates_active"] + total["updates_inactive"]
    return synaptic(total["ac"], total["mac"]) + Work(0, 0, 0, total["bias_adds"], 2 * updates)


def spikingjelly(net: nn.Module, images: Tensor) -> Work:
    """SpikingJelly's simple energy model, image by image."""
    from spikingjelly.activation_based.op_counter import SimpleEnergyProfiler

    total = Work()
    for image in images:
        profiler = SimpleEnergyProfiler()
        profiler.bind_model(net)
        with profiler:
            net(image[None])
        found = profiler.get_report()
        n = found.counts
        states = n["neuron_state_read_bytes"] + n["neuron_state_write_bytes"]
        words = (n["weight_read_bytes"] / WORD, n["bias_read_bytes"] / WORD, states / WORD)
        one = Work(n["ac"], n["mac"], *words)
        assert abs(1e-6 * found.energy_total_pj - one.microjoules) <= 1e-9 * one.microjoules
        total += one
    return total


def lemaire_of(net: nn.Module, images: Tensor) -> Counter[str]:
    """SpikingJelly's Lemaire profiler, in microjoules by part.

    It takes memories to be as large as a batch, so every image is a batch of its own.
    """
    from spikingjelly.activation_based.op_counter import LemaireEnergyConfig, LemaireEnergyProfiler

    total: Counter[str] = Counter()
    for image in images:
        profiler = LemaireEnergyProfiler(config=LemaireEnergyConfig(strict=False))
        profiler.bind_model(net)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # layers that it leaves out
            with profiler:
                net(image[None])
        parts = profiler.get_report().breakdown_pj
        total.update({name: 1e-6 * parts[f"{name}_pj"] for name in PARTS})  # type: ignore[arg-type]
    return total


PARTS = ("ops", "addressing", "inout", "params", "potential")


# --- what torch saw ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One call of a convolution or linear layer."""

    module: nn.Conv2d | nn.Linear
    kind: str  # 'image', 'spikes' or 'graded'
    events: int  # nonzero inputs times the synapses that each meets
    ones: int  # the same, of inputs that are 1
    existing: int  # all synapses, padding left out
    inputs: int
    active: int
    outputs: int

    @property
    def dense(self) -> int:
        return self.outputs * self.module.weight[0].numel()

    @property
    def kernel(self) -> int:
        """Weights that an input meets, were there no border and no stride."""
        return self.module.weight.numel() // self.module.weight.shape[1]

    @property
    def strided(self) -> int:
        """The same, thinned out by the stride as Lemaire's equation 1 does it."""
        if isinstance(self.module, nn.Linear):
            return self.kernel
        sides = zip(self.module.kernel_size, self.module.stride, strict=True)
        return self.module.out_channels * prod(ceil(k / s) for k, s in sides)


@dataclass(frozen=True)
class Seen:
    """All calls of an observed run, all neurons' outputs, and what else torch computed."""

    calls: list[Call]
    fired: list[tuple[int, int]]  # neurons, spikes: of one call of a layer of neurons
    other: Counter[str]


def observe(net: nn.Module, images: Tensor) -> Seen:
    """Run image by image, as the tools do."""
    seen = Seen([], [], Counter())
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    hooks = [
        module.register_forward_hook(lambda m, x, y: _note(seen, first, m, x[0], y))
        for module in net.modules()
    ]
    for image in images:
        logits = net(image[None])
        seen.other["logits"] += logits.numel()
    for hook in hooks:
        hook.remove()
    return seen


def _note(seen: Seen, first: nn.Module, module: nn.Module, x: Tensor, y: Tensor) -> None:
    match module:
        case nn.Conv2d() | nn.Linear():
            binary = bool(((x == 0) | (x == 1)).all())
            kind = "image" if module is first else "spikes" if binary else "graded"
            met = (counters.events(module, z) for z in (x, x == 1, torch.ones_like(x)))
            sizes = x.numel(), int(x.count_nonzero()), y.numel()
            seen.calls.append(Call(module, kind, *met, *sizes))
        case LIFNode():
            seen.fired.append((y.numel(), int(y.count_nonzero())))
        case nn.BatchNorm2d():
            seen.other["norm elements"] += x.numel()
            seen.other["norm channels"] += x.shape[1]
        case nn.AvgPool2d():
            seen.other["pool adds"] += x.numel() - y.numel()
        case nn.AdaptiveAvgPool2d():
            seen.other["pool adds"] += x.numel() - y.numel()
            seen.other["folded"] += int(x.count_nonzero()) * 10
        case _seenn_torch.Block():
            seen.other["residual adds"] += y.numel()
            shortcut = "identity" if module.downsample is None else "folded"
            fan_out = 1 if module.downsample is None else y.shape[1]
            seen.other[shortcut] += int(x.count_nonzero()) * fan_out


def total(seen: Seen, kind: str, what: str) -> int:
    return sum(getattr(call, what) for call in seen.calls if call.kind == kind)


# --- reasons: counts ---------------------------------------------------------------------------


def common(seen: Seen, exact: Work) -> dict[str, Work]:
    """What holds for both tools."""
    folded, identity = seen.other["folded"], seen.other["identity"]
    pooled_alone = _behind_pools(seen)
    spikes = total(seen, "spikes", "events") - pooled_alone
    on_torch = synaptic(spikes + folded + identity, total(seen, "image", "events") // T)
    program = synaptic(exact.ac, exact.mac)
    return {
        "other spikes: torch rounds otherwise": on_torch - program,
        "pools are folded: ACs for us": synaptic(-folded),
        "spikes into identity shortcuts: ACs for us": synaptic(-identity),
        "layer 1 at every step, for us once": synaptic(mac=on_torch.mac * (T - 1)),
    }


def _behind_pools(seen: Seen) -> int:
    """Events of averages that all happened to be 0 or 1: spikes for a tool that sees tensors."""
    pooled = {call.module for call in seen.calls if call.kind == "graded"}
    return sum(c.events for c in seen.calls if c.kind == "spikes" and c.module in pooled)


def neurobench_reasons(seen: Seen) -> dict[str, Work]:
    graded, ones = total(seen, "graded", "events"), total(seen, "graded", "ones")
    return {
        "averages behind pools: MACs": synaptic(mac=graded - ones),
        ".. of 1, by their tensor": synaptic(mac=ones),
        ".. in a tensor of 0 and 1 alone: ACs": synaptic(_behind_pools(seen)),
    }


def spikingjelly_reasons(seen: Seen, exact: Work) -> dict[str, Work]:
    image, graded = (
        {what: total(seen, kind, what) for what in ("events", "existing", "dense")}
        for kind in ("image", "graded")
    )
    neurons, norm = sum(n for n, _ in seen.fired), seen.other["norm elements"]
    biases = sum(call.outputs for call in seen.calls if call.module.bias is not None)
    convolved = [c for c in seen.calls if c.kind == "spikes" and isinstance(c.module, nn.Conv2d)]
    fields_met = sum(c.outputs // c.module.out_channels - 1 for c in convolved)
    return neurobench_reasons(seen) | {
        ".. and zero averages": synaptic(mac=graded["dense"] - graded["events"]),
        "layer 1: zero inputs": synaptic(mac=image["existing"] - image["events"]),
        "layer 1: padding": synaptic(mac=image["dense"] - image["existing"]),
        "neurons: 6 adds a step, 5 in the first": Work(neurons * 6 - neurons // T),
        "batch norm: an AC and a MAC an element": Work(norm, norm),
        "batch norm: an AC a channel": Work(seen.other["norm channels"]),
        "residual adds": Work(seen.other["residual adds"]),
        "average pools: adds of a window": Work(seen.other["pool adds"]),
        "logits summed over steps": Work(seen.other["logits"] * (T - 1)),
        "its memory counter counts its own sums": Work(fields_met),
        "biases of layers, for us of folded norms": Work(biases=biases - exact.biases),
        "states": Work(states=2 * neurons - exact.states),
    }


# --- reasons: Lemaire's equations --------------------------------------------------------------


@dataclass(frozen=True)
class Convention:
    """How the equations are applied; the default is ours, on torch's modules."""

    once: bool = True  # layer 1 is computed once
    dense: bool = False  # what is no tensor of spikes is a dense product
    whole: bool = False  # spikes meet whole kernels
    biased: bool = False  # biases are a part of the memory of parameters
    dense_addresses: bool = False  # addresses of dense products


STEPS = (
    ("layer 1 at every step", {"once": False}),
    ("dense products: zeros and padding", {"dense": True}),
    ("spikes meet whole kernels", {"whole": True}),
    ("addresses of dense products", {"dense_addresses": True}),
    ("biases take room beside the weights", {"biased": True}),
)


def lemaire(seen: Seen, how: Convention) -> float:
    """Microjoules of the equations of arXiv 2210.13107 on what torch saw."""
    model = costs.load("spikingjelly-lemaire")
    assert model.memory is not None
    add, multiply = model.prices["ac"], model.prices["mac"]
    word = model.memory.word_price
    picojoules, queue = 0.0, float(word("queue", 1000))
    for call in seen.calls:
        module, share = call.module, 1 / T if how.once and call.kind == "image" else 1
        stored = module.weight.numel()
        outputs = call.outputs if module.bias is not None else 0
        if how.biased and module.bias is not None:
            stored += module.bias.numel()
        fetch = float(word("weights", stored))
        picojoules += outputs * (fetch + add)
        if call.kind == "spikes" or (call.kind == "graded" and not how.dense):
            added = call.active * call.strided if how.whole else call.events
            moved = call.active * call.kernel if how.whole else call.events
            picojoules += (
                add * added + (add + fetch + 2 * float(word("potentials", call.outputs))) * moved
            )
            picojoules += queue * call.active
            picojoules += 2 * multiply * call.active * isinstance(module, nn.Conv2d)
        else:
            products = share * (call.dense if how.dense else call.events)
            picojoules += products * (multiply + fetch)
            # A dense layer reads its input once, where it is dense.
            reads = products
            if how.dense and isinstance(module, nn.Linear):
                reads = call.inputs
            picojoules += reads * float(word("inputs", call.inputs))
            if how.dense_addresses:
                window = prod(module.weight.shape[2:]) * len(module.weight)
                kernels = window if isinstance(module, nn.Conv2d) else 0
                picojoules += add * (call.inputs + call.outputs + kernels)
    for neurons, spikes in seen.fired:
        picojoules += neurons * (multiply + 2 * float(word("potentials", neurons)))
        picojoules += spikes * (add + queue)
    return 1e-6 * picojoules


def lemaire_reasons(run: RunResult, seen: Seen) -> dict[str, float]:
    """Microjoules of each difference, one convention changed after the other."""
    how = Convention()
    before = lemaire(seen, how)
    biases = _module_biases(seen) - _program_biases(run)
    program = before - float(1e6 * run.energy("spikingjelly-lemaire").sum())
    reasons = {
        "biases of layers, for us of folded norms": biases,
        "pools folded, shortcuts priced, other spikes": program - biases,
    }
    for name, change in STEPS:
        how = replace(how, **change)
        after = lemaire(seen, how)
        reasons[name], before = after - before, after
    return reasons


def _module_biases(seen: Seen) -> float:
    model = costs.load("spikingjelly-lemaire")
    assert model.memory is not None
    return 1e-6 * sum(
        call.outputs * (float(model.memory.word_price("weights", call.module.weight.numel())) + 0.1)
        for call in seen.calls
        if call.module.bias is not None
    )


def _program_biases(run: RunResult) -> float:
    prices = costs.load("spikingjelly-lemaire").layer_prices(run.sizes)["bias_adds"]
    return float(1e6 * (run.charged.bias_adds.sum(axis=(0, 2)) * prices).sum())


# --- tables ------------------------------------------------------------------------------------


def reasons_table(
    title: str, exact: Work, reasons: dict[str, Work], found: Work, n: int, joules: bool
) -> Table:
    table = Table(title=title, title_justify="left")
    names = ["ACs", "MACs", *(["weights", "biases", "states", "uJ"] if joules else [])]
    table.add_column("per image", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    explained = sum(reasons.values(), exact)
    rows = {"exact": exact, **reasons, "found": found, "unexplained": found - explained}
    for name, work in rows.items():
        values = [getattr(work, f.name) / n for f in fields(Work)][: 5 if joules else 2]
        if not any(values) and name in reasons:
            continue
        form = "{:,.0f}" if name in ("exact", "found") else "{:+,.0f}"
        cells = [form.format(value).replace("+0", "0") for value in values]
        table.add_row(name, *cells, *([f"{work.microjoules / n:+,.3f}"] if joules else []))
    return table


def lemaire_table(run: RunResult, seen: Seen, found: Counter[str], n: int) -> Table:
    table = Table(title="Lemaire's equations, by SpikingJelly", title_justify="left")
    table.add_column("per image", no_wrap=True)
    table.add_column("uJ", justify="right")
    exact = float(1e6 * run.energy("spikingjelly-lemaire").sum())
    table.add_row("exact, cost model spikingjelly-lemaire", f"{exact / n:,.3f}")
    reasons = lemaire_reasons(run, seen)
    for name, change in reasons.items():
        table.add_row(name, f"{change / n:+,.3f}")
    measured = sum(found.values())
    left = measured - exact - sum(reasons.values())
    table.add_row("found", f"{measured / n:,.3f}")
    table.add_row("unexplained", f"{left / n:+,.6f}")
    return table


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=5)
    n = parser.parse_args().images
    torch.set_num_threads(counters.THREADS)
    console, images = Console(width=140), counters.read_images(n)
    for name, make in NETWORKS.items():
        net = make().eval().requires_grad_(False)
        graph = sd.import_model(net, images[:1], T=T)
        run = sd.simulate(sd.compile(graph, sd.exits.Fixed()), images.numpy())
        exact, seen = ours(run), observe(net, images)
        console.rule(name)
        same = common(seen, exact)
        reasons = same | spikingjelly_reasons(seen, exact)
        title = "SpikingJelly's simple energy model"
        console.print(reasons_table(title, exact, reasons, spikingjelly(net, images), n, True))
        console.print(lemaire_table(run, seen, lemaire_of(net, images), n))
        tool = counters.synaptic_operations(net, images, 1)
        found = synaptic(tool["Effective_ACs"], tool["Effective_MACs"])
        title = "NeuroBench, which states no joules"
        console.print(reasons_table(title, exact, same | neurobench_reasons(seen), found, n, False))
        synapses = sum(call.existing for call in seen.calls) / n
        dense_macs = f"{T} x {int(run.sizes.dense_macs.sum()):,} dense MACs with padding"
        console.print(
            f"its dense operations: {tool['Dense'] / n:,.0f}; synapses of all calls: "
            f"{synapses:,.0f}; {dense_macs}\n"
        )


if __name__ == "__main__":
    main()
