"""Products of attention in another order: the same spikes, other counts."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import ProgramError

T = 2


class Attending(nn.Module):
    """(q k^T) v of heads, or the other order, behind one layer of neurons."""

    def __init__(self, heads: int, width: int, tokens: int, first: str, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.sizes, self.first = (heads, width, tokens), first
        self.qkv, self.spike = nn.Conv1d(3, 3 * heads * width, 1), neuron.LIFNode(step_mode="m")
        self.attend = neuron.LIFNode(step_mode="m", tau=1.5)
        self.head = nn.Linear(heads * width * tokens, 3)
        self.qkv.weight.data *= 6

    def forward(self, x: Tensor) -> Tensor:
        heads, width, tokens = self.sizes
        spikes = self.spike(self.qkv(x)[None].repeat(T, 1, 1, 1))
        q, k, v = spikes.reshape(T, -1, 3, heads, width, tokens).transpose(-1, -2).unbind(2)
        turned = k.transpose(-1, -2)
        out = (q @ turned) @ v if self.first == "qk" else q @ (turned @ v)
        flat = (0.25 * out).transpose(-1, -2).reshape(T, -1, heads * width, tokens)
        return self.head(self.attend(flat).flatten(2))


def multiplications(program: sd.Program) -> int:
    return sum(n.multiplications for n in program.graph.layers if isinstance(n, ir.Product))


@given(
    heads=st.integers(1, 3), width=st.integers(2, 5), tokens=st.integers(2, 9),
    first=st.sampled_from(["qk", "kv"]), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=8, deadline=None)
def test_the_cheapest_order_changes_no_spike(
    heads: int, width: int, tokens: int, first: str, seed: int
) -> None:
    x = torch.rand(3, 3, tokens)
    net = Attending(heads, width, tokens, first, seed).eval()
    graph = sd.import_model(net, x, T=T)
    module, cheapest = (
        sd.compile(graph, precision="int8", input_range=(0, 1), attention_order=order)
        for order in ("module", "cheapest")
    )
    found = [sd.simulate(p, x.numpy(), full_trace=True, record=True) for p in (module, cheapest)]
    np.testing.assert_array_equal(found[0].integer_logits, found[1].integer_logits)
    for name, spikes in found[0].spikes.items():
        if module.graph.node(name).kind != "product":
            np.testing.assert_array_equal(spikes, found[1].spikes[name])
    by_order = {"qk": 2 * tokens * tokens * width, "kv": 2 * tokens * width * width}
    assert multiplications(module) == heads * by_order[first]
    assert multiplications(cheapest) == heads * min(by_order.values())


def test_both_orders_are_counted_by_element() -> None:
    heads, width, tokens = 2, 3, 8
    torch.manual_seed(2)
    x = torch.rand(4, 3, tokens)
    graph = sd.import_model(Attending(heads, width, tokens, "qk", 1).eval(), x, T=T)
    counts = []
    for order in ("module", "cheapest"):
        program = sd.compile(graph, attention_order=order)
        run = sd.simulate(program, x.numpy(), full_trace=True, record=True)
        at = [i for i, n in enumerate(program.graph.layers) if n.kind == "product"]
        counts.append(run.counts.ac[:, at].sum(axis=(0, 2)).tolist())
    # The first population is that of q, k and v.
    spikes = run.spikes[program.graph.populations[0].name].astype(np.int64)
    q, k, v = np.moveaxis(spikes.reshape(4, T, 3, heads, width, tokens), 2, 0)
    scores, mixed = (np.einsum("...dn,...dm->...nm", q, k), np.einsum("...dm,...em->...de", k, v))
    # On samples, the compiler counts the same per timestep, and takes what is less.
    program = sd.compile(graph, attention_order="cheapest", calibration=x.numpy())
    (told,) = program.provenance.attention
    assert told["measured"]
    per_timestep = [sum(count) / (4 * T) for count in counts]
    assert [told["module"], told["other"]] == pytest.approx(per_timestep)
    assert told["choice"] == ("cheapest" if per_timestep[1] < per_timestep[0] else "module")
    assert counts[0] == [scores.sum(), np.einsum("sthnm,sthem->", (scores != 0) * 1, v)]
    assert counts[1] == [mixed.sum(), np.einsum("sthdn,sthde->", q, (mixed != 0) * 1)]
    assert min(counts[0] + counts[1]) > 0


def test_masks_and_other_words_are_left_or_refused() -> None:
    x = torch.rand(2, 3, 8)
    graph = sd.import_model(Attending(2, 2, 8, "qk", 0).eval(), x, T=T)
    with pytest.raises(ProgramError, match="attention_order 'best': there is module, cheapest"):
        sd.compile(graph, attention_order="best")
    (inner, _) = [n for n in graph.layers if n.kind == "product"]
    both = prod(inner.left) + prod(inner.right)
    masked = graph.replace(
        [n.with_bias(np.ones(both, np.float32)) if n is inner else n for n in graph.order]
    )
    program = sd.compile(masked, attention_order="cheapest")
    assert program.graph.node(inner.name).subscripts == inner.subscripts
