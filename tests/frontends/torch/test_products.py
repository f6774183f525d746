"""Spikes multiplied by spikes: equal to the module, counted, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from seenn_deploy.fidelity import RefusedError

T = 4


class Multiplying(nn.Module):
    """Two layers of neurons whose spikes p and q meet in `how`, and a layer behind."""

    def __init__(self, how: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.d = (nn.Linear(n, 16) for n in (12, 12, 16, 16))
        for part in (self.a, self.b, self.c):
            part.weight.data *= 4
            part.bias.data += 0.5
        self.n, self.m, self.o = (neuron.LIFNode() for _ in range(3))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.o(self.c(self.how(self.n(self.a(x)), self.m(self.b(x)), x))))


def made(how: Callable[..., Tensor]) -> tuple[Multiplying, Tensor]:
    return Multiplying(how).eval(), torch.rand(6, 12)


EQUAL: dict[str, Callable[..., Tensor]] = {
    "and": lambda p, q, x: p * q,
    "iand": lambda p, q, x: p * (1.0 - q),
    "neither": lambda p, q, x: (1 - p) * (1 - q),
    "xor": lambda p, q, x: p * (1 - q) + q * (1 - p),
    "or": lambda p, q, x: p + q - p * q,
    "with factors": lambda p, q, x: 0.5 * p * q * 3,
    "with itself": lambda p, q, x: p * p,
    "sum and spikes": lambda p, q, x: (p + q) * q,
    "two sums": lambda p, q, x: (p + q) * (q + q),
    "three": lambda p, q, x: p * q * (1 - p),
}


@pytest.mark.parametrize("name", EQUAL)
def test_products_are_the_module_s_own(name: str, tmp_path: Path) -> None:
    net, x = made(EQUAL[name])
    graph = sd.import_model(net, x, T=T)
    functional.reset_net(net)
    with torch.no_grad():
        own = torch.stack([net(x) for _ in range(T)], 1).cumsum(1).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True, record=True)
    np.testing.assert_allclose(run.logits, own, rtol=1e-5, atol=1e-5)
    assert run.spikes["n"].any()
    program = sd.compile(graph, precision="int8", calibration=x.numpy())
    whole = sd.simulate(program, x.numpy(), full_trace=True)
    program.save(tmp_path / "program")
    again = sd.simulate(sd.load(tmp_path / "program"), x.numpy(), full_trace=True)
    np.testing.assert_array_equal(again.logits, whole.logits)


def test_ands_are_counted_where_both_spiked() -> None:
    net, x = made(EQUAL["and"])
    program = sd.compile(sd.import_model(net, x, T=T))
    run = sd.simulate(program, x.numpy(), full_trace=True, record=True)
    at = run.layers.index("mul")
    both = (run.spikes["n"] & run.spikes["m"]).sum(axis=2)
    assert both.any()
    np.testing.assert_array_equal(run.counts.ands[:, at], both)
    assert not run.counts.ac[:, at].any()
    (product,) = (n for n in program.graph.layers if isinstance(n, ir.Product))
    assert product.multiplications == 16


def test_a_sum_s_payloads_are_accumulates_of_their_own() -> None:
    net, x = made(EQUAL["sum and spikes"])
    run = sd.simulate(sd.compile(sd.import_model(net, x, T=T)), x.numpy(), full_trace=True)
    at = run.layers.index("mul")
    assert run.counts.payloads[:, at].any()
    assert run.counts.ands[:, at].any()
    np.testing.assert_array_equal(run.counts.ac[:, at], run.counts.payloads[:, at])


def test_targets_without_products_say_so(tmp_path: Path) -> None:
    program = sd.compile(sd.import_model(*made(EQUAL["and"]), T=T))
    with pytest.raises(ProgramError, match="mul: target lava has no form for a product node"):
        program.save(tmp_path / "program", targets=["lava"])
    with pytest.raises(RefusedError, match="mul: NIR has no form for a product node"):
        program.save(tmp_path / "program", targets=["nir"])
    assert not (tmp_path / "program").exists()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda p, q, x: p * (0.5 - q), "not both spikes"),
        (lambda p, q, x: p * x[:, :1], "a part of an axis"),
        (lambda p, q, x: p * torch.cat((x, x[:, :4]), 1), "a part of an axis"),
        (lambda p, q, x: p * (q.mean(1, keepdim=True) > 0.5), "a comparison"),
        (lambda p, q, x: p * q.mean(1, keepdim=True), "not both spikes"),
        (lambda p, q, x: p.softmax(1), "softmax is not supported"),
    ],
)
def test_other_products_are_refused(how: Any, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        sd.import_model(*made(how), T=T)


def test_factors_of_two_timesteps_are_refused() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.d, self.n = nn.Linear(12, 16), nn.Linear(16, 5), neuron.LIFNode()

        def forward(self, x: Tensor) -> Tensor:
            before, out = None, []
            for _ in range(T):
                spikes = self.n(self.a(x))
                out.append(self.d(spikes if before is None else spikes * before))
                before = spikes
            return torch.stack(out)

    with pytest.raises(RefusedError, match="a product of two timesteps"):
        sd.import_model(Late().eval(), torch.rand(2, 12))


class Attending(nn.Module):
    """Tokens whose queries, keys and values, (T, B, N, C), meet in `how`."""

    def __init__(self, how: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed, self.first = nn.Conv1d(12, 12, 1), neuron.LIFNode(step_mode="m")
        self.qkv = nn.ModuleList(nn.Linear(12, 12) for _ in range(3))
        self.neurons = nn.ModuleList(neuron.LIFNode(step_mode="m") for _ in range(3))
        self.last, self.head = neuron.LIFNode(step_mode="m", v_threshold=0.5), nn.Linear(12, 3)
        for layer in (self.embed, *self.qkv):
            layer.weight.data *= 4
            layer.bias.data += 0.5
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.embed(x)[None].repeat(T, 1, 1, 1)).mT
        q, k, v = (fires(layer(x)) for layer, fires in zip(self.qkv, self.neurons, strict=True))
        return self.head(self.last(self.how(q, k, v)).mean(2))


def by_samples(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    a, b, c = (x.flatten(0, 1) for x in (q, k, v))
    return torch.bmm(torch.bmm(a, b.transpose(1, 2)), c).view_as(q)


ATTENTION: dict[str, Callable[..., Tensor]] = {
    "matrices": lambda q, k, v: (q @ k.mT) @ v,
    "bmm": by_samples,
    "letters": lambda q, k, v: torch.einsum(
        "tbnm,tbmc->tbnc", torch.einsum("tbnc,tbmc->tbnm", q, k), v
    ),
    "dots": lambda q, k, v: torch.einsum(
        "...nd,...dc->...nc", q, torch.einsum("...nd,...nc->...dc", k, v)
    ),
    "a mask in letters": lambda q, k, v: torch.einsum("tbnc,tbnc->tbnc", q, k),
    "or": lambda q, k, v: q + k - q * k,
}


@pytest.mark.parametrize("name", ATTENTION)
def test_tokens_meet_in_other_words(name: str) -> None:
    net, x = Attending(ATTENTION[name]).eval(), torch.rand(3, 12, 5)
    graph = sd.import_model(net, x, T=T)
    functional.reset_net(net)
    with torch.no_grad():
        own = net(x).cumsum(0).transpose(0, 1).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy()[:, :, None], full_trace=True, record=True)
    np.testing.assert_allclose(run.logits, own, rtol=1e-5, atol=1e-5)
    assert 0 < run.spikes["last"].mean() < 1


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda q, k, v: q * torch.cat((k[1:], k[:1])), "a part of the timesteps"),
        (lambda q, k, v: q * torch.cat((k[:, 1:], k[:, :1]), 1), "a part of the batch"),
        (lambda q, k, v: torch.einsum("tbnc,sbnc->tbnc", q, k), "sum over axes that both"),
        (lambda q, k, v: torch.einsum("tbnc,tbmc->bnm", q, k) @ v, "what different timesteps sent"),
        (
            lambda q, k, v: torch.einsum("tbnc,sbmc->tbsnm", q, k).sum(2) @ v,
            "what different timesteps sent",
        ),
        (lambda q, k, v: torch.einsum("tbnn,tbnc->tbnc", q @ k.mT, v), "name every axis once"),
        (lambda q, k, v: torch.einsum("tbnc,tbmc,tbmd->tbnd", q, k, v), "write two factors"),
    ],
)
def test_other_meetings_are_refused(how: Any, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as refusal:
        sd.import_model(Attending(how).eval(), torch.rand(3, 12, 5), T=T)
    assert "test_products.py:" in str(refusal.value)


def test_a_product_that_contradicts_itself_is_refused() -> None:
    def product(*values: Any) -> None:
        ir.Product("x", *values).check()

    product((2, 3, 1), "nd,md->nm", (2, 4), (3, 4))
    for values in [
        ((2, 3, 1), "nd,md->nm", (2, 4), (3, 5)),  # the summed axis differs
        ((2, 3, 1), "nd,md->mn", (2, 4, 1), (3, 4)),
        ((2, 2, 1), "nd,md->nm", (2, 4), (3, 4)),
        ((2, 1, 1), "nd,me->nm", (2, 4), (1, 4)),  # axes of one factor that are not in the result
        ((2, 3, 1), "nd md nm", (2, 4), (3, 4)),
    ]:
        with pytest.raises(sd.SeennError, match=r"^x: "):
            product(*values)
