"""Training losses against their definitions, and a run with each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seenn_deploy.errors import DataError, ModelError
from seenn_deploy.training import Architecture, Recipe, losses, models, train_snn
from seenn_deploy.training.losses.base import Batch
from seenn_deploy.training.losses.mixed import as_parts, retimed
from seenn_deploy.training.losses.rcs import penalty
from seenn_deploy.training.models.neurons import LIF, remaining
from seenn_deploy.training.models.signals import SIGNALS
from tests import naive_losses as naive
from tests.training.test_loop import shapes

N, T, M = 3, 4, 5
RNG = torch.Generator().manual_seed(3)
TINY = Architecture("resnet8", width=0.125, T=3)


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(N, T, M, generator=rng, dtype=torch.float64)
    return logits, torch.randint(0, M, (N,), generator=rng)


def of(name: str, logits: Tensor, labels: Tensor, **options: float) -> Tensor:
    batch = Batch(torch.zeros(len(labels)), labels, torch.arange(len(labels)))
    return losses.named(name, **options).of_logits(logits, batch)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), weight=st.floats(0, 1), other=st.floats(0.5, 6))
def test_each_is_its_definition(seed: int, weight: float, other: float) -> None:
    z, y = drawn(seed)
    rows, labels = z.tolist(), y.tolist()
    found = {
        "tet": (of("tet", z, y, weight=weight, mean=other), naive.tet(rows, labels, weight, other)),
        "distill": (
            of("distill", z, y, weight=weight, temperature=other),
            naive.distill(rows, labels, weight, other),
        ),
        "gap": (
            of("gap", z, y, weight=weight, margin=other), naive.gap(rows, labels, weight, other)
        ),
        "mixed": (of("mixed", z, y), naive.mixed(rows, labels)),
        "rcs": (of("rcs", z, y), naive.every_step(rows, labels)),
    }  # fmt: skip
    assert found.keys() == set(losses.names())
    for name, (ours, theirs) in found.items():
        assert ours.item() == pytest.approx(theirs, rel=1e-6), name


@pytest.mark.parametrize("name", ["tet", "distill", "gap", "mixed", "rcs"])
def test_gradients_equal_finite_differences(name: str) -> None:
    z, y = drawn(1)
    if name == "distill":  # no gradient runs through the timesteps that are right
        z[torch.arange(N), :, y] = -9.0
    assert torch.autograd.gradcheck(lambda x: of(name, x, y), (z.requires_grad_(),))


@settings(max_examples=40, deadline=None)
@given(spikes=st.lists(st.integers(0, 1), min_size=1, max_size=9), T=st.integers(1, 9))
def test_spikes_change_their_timesteps_as_the_table_says(spikes: list[int], T: int) -> None:
    x = torch.tensor([[[float(s)] for s in spikes]])
    assert retimed(x, T)[0, :, 0].tolist() == naive.retimed(list(map(float, spikes)), T)


def test_responses_and_their_penalty() -> None:
    currents = torch.rand(N, T, 7, generator=RNG, dtype=torch.float64) * 1.5 - 0.3
    currents[0] = 0.0  # a silent sample points nowhere, and is no reason for a penalty
    layer = LIF(tau=0.7, v_threshold=0.8)
    found = layer(currents) + remaining(layer, currents)
    expected = [
        list(zip(*[naive.response(c, 0.7, 0.8) for c in zip(*sample, strict=True)], strict=True))
        for sample in currents.tolist()
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype))
    assert penalty(found).item() == pytest.approx(naive.penalty(expected), rel=1e-5)
    assert penalty(torch.zeros(1, 2, 3)).item() == pytest.approx(1)


@pytest.mark.parametrize("name", models.names())
def test_parts_of_every_network_run_for_their_own_timesteps(name: str) -> None:
    size = 32 if name.startswith("vgg") else 1 if name in SIGNALS else 16
    net = models.build(name, 4, 3, 0.07, T=3, input_size=size).train()
    image = torch.rand(2, 3, size, size, generator=RNG)
    before = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
    with as_parts(net, [2, *[3] * (len(net.retimed) - 1), 5]):
        assert net(image).shape == (2, 5, 4)
        net.eval()
        alike = net(image)
    after = net.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    with as_parts(net, [3] * (len(net.retimed) + 1)):
        torch.testing.assert_close(net(image), net(image))
        whole = net(image)
    torch.testing.assert_close(whole, net(image), rtol=0, atol=0)
    assert net.T == 3 and alike.shape[1] == 5 and net(image).shape == (2, 3, 4)


@pytest.mark.parametrize("name", ["distill", "gap", "mixed", "rcs"])
def test_a_run_says_its_loss_and_goes_on_with_no_other(name: str, tmp_path: Path) -> None:
    data, recipe = shapes(tmp_path), Recipe(epochs=2, batch_size=32)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    (first, last) = train_snn(data, whole, TINY, recipe, loss=name, limit=64)
    assert last["loss"] < first["loss"] + 0.5
    about = json.loads((whole / "train.json").read_text())["task"]
    assert about["loss"] == name and f"{name}_{next(iter(_fields(name)))}" in about

    def stop(log: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_snn(data, cut, TINY, recipe, loss=name, limit=64, each_epoch=stop)
    with pytest.raises(Exception, match=f"is a run with loss {name}, not tet"):
        train_snn(data, cut, TINY, recipe, limit=64, resume=True)
    train_snn(data, cut, TINY, recipe, loss=name, limit=64, resume=True)
    ours, theirs = (torch.load(f / "model.pth", weights_only=True) for f in (whole, cut))
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def _fields(name: str) -> dict[str, float]:
    return vars(losses.named(name))


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="loss 'mse' does not exist; there are distill, gap,"):
        losses.named("mse")
    with pytest.raises(DataError, match=r"loss gap has no parameter 'beta'; it has weight, margin"):
        losses.named("gap", beta=2)
    with pytest.raises(DataError, match=r"margin = nan; it must be 0 or above"):
        losses.named("gap", margin=float("nan"))
    with pytest.raises(DataError, match=r"samples = 1.5; it is a number of passes"):
        losses.named("mixed", samples=1.5)
    with pytest.raises(ModelError, match="loss mixed: the network has no 'retimed'"):
        losses.named("mixed").check(nn.Linear(2, 2))
    data, out = shapes(tmp_path), tmp_path / "run"
    with pytest.raises(DataError, match="tet_mean belongs to the loss tet, not to gap"):
        train_snn(data, out, TINY, Recipe(), loss="gap", tet_mean=1.0)
    with pytest.raises(DataError, match="loss rcs looks into the network, which --compile"):
        train_snn(data, out, TINY, Recipe(compile=True), loss="rcs")
    assert not out.exists()
