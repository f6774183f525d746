"""The training loop: SGD or AdamW and a cosine schedule, resumable, written epoch by epoch.

A run's folder holds what the compiler takes (``model.pth``, ``policy.onnx``), and beside it
``state.pt`` to go on from, ``log.jsonl`` with one line per epoch and the same as a table in
``log.csv``, and ``train.json``, which says what was trained.
"""

from __future__ import annotations

import csv
import io
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seenn_deploy.errors import DataError, ModelError, ProgramError, TrainingError
from seenn_deploy.io import folders
from seenn_deploy.training.averaging import Average
from seenn_deploy.training.data import (
    AUGMENTS,
    Augment,
    DataSet,
    Kind,
    Normalization,
    batches,
    resized,
)
from seenn_deploy.training.muon import Muon

STATE, LOG, TABLE, ABOUT = "state.pt", "log.jsonl", "log.csv", "train.json"
MODEL = "model.pth"
TEST_BATCH = 128
FORMAT, VERSION = "seenn-deploy training", 1
Log = list[dict[str, Any]]
Optimizer = Literal["sgd", "adamw", "muon"]
OPTIMIZERS = ("sgd", "adamw", "muon")


@dataclass(frozen=True)
class Recipe:
    """The options of training that do not belong to a network or a data set.

    Parameters
    ----------
    epochs, batch_size : int
    lr : float
        Learning rate at the start; it falls to 0 along half a cosine over all batches.
    warmup : float in [0, 1)
        Share of all batches over which the rate rises from 0 first.
    optimizer : 'sgd', 'adamw' or 'muon'
        'muon' is :class:`~seenn_deploy.training.muon.Muon`, with the rates of AdamW.
    momentum, weight_decay : float
        Momentum is SGD's; AdamW has betas of 0.9 and 0.999, Muon's momentum is 0.95.
    seed : int
        Seed of weights, order and augmentation; the same seed gives the same weights on one
        machine.
    device : 'cpu' or 'cuda'
    bf16 : bool
        Whether to compute in bfloat16 where torch's autocast does so; weights stay float32.
    compile : bool
        Whether ``torch.compile`` makes one program of the network, for batches of full size, with
        channels last in memory. It takes minutes before the first step, and a C++ compiler.
    augment : 'crop-flip', 'crop' or 'none'
    cutout : int
        Side of a square of zeros that hides a part of each sample, in pixels; 0 for none (DeVries
        and Taylor 2017, arXiv 1708.04552).
    sizes : tuple of (int, float)
        Height and width that samples are resized to, one after another, each for a share of all
        batches: smaller images first take a fraction of the time. Empty: their own size.
    average : float in [0, 1)
        Share of the weights' running mean that a step leaves. The mean is tested and written; with
        0 there is none.
    """

    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.05
    warmup: float = 0.0
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    device: str = "cpu"
    bf16: bool = False
    compile: bool = False
    augment: Augment = "crop-flip"
    cutout: int = 0
    sizes: tuple[tuple[int, float], ...] = ()
    average: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < low:
                raise DataError(f"{name} = {getattr(self, name)}; it must be at least {low}")
        if not self.lr > 0:
            raise DataError(f"lr = {self.lr}; it must be above 0")
        if not 0 <= self.warmup < 1:
            raise DataError(f"warmup = {self.warmup}; it is a share of all batches, in [0, 1)")
        if self.optimizer not in OPTIMIZERS:
            raise DataError(f"optimizer {self.optimizer!r}: there is {', '.join(OPTIMIZERS)}")
        if self.augment not in AUGMENTS:
            raise DataError(f"augment {self.augment!r}: there is {', '.join(AUGMENTS)}")
        if self.cutout < 0:
            raise DataError(f"cutout = {self.cutout}; it is a number of pixels, or 0 for none")
        if not 0 <= self.average < 1:
            raise DataError(f"average = {self.average}; it is a share, in [0, 1): 0.998, say")
        whole = sum(share for _, share in self.sizes)
        if self.sizes and (min(min(pair) for pair in self.sizes) <= 0 or abs(whole - 1) > 1e-6):
            raise DataError(
                f"sizes = {self.sizes}; sizes and shares lie above 0, and shares add up to 1"
            )
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise DataError(f"device {self.device!r}: torch finds no CUDA device; use cpu")

    def rate(self, done: float) -> float:
        """Return the learning rate after a share `done` of all batches."""
        if done < self.warmup:
            return self.lr * done / self.warmup
        fallen = (done - self.warmup) / (1 - self.warmup)
        return self.lr * 0.5 * (1 + cos(pi * fallen))

    def size(self, done: float) -> int | None:
        """Return the size of samples after a share `done` of all batches; None for their own."""
        until = 0.0
        for size, share in self.sizes:
            until += share
            if done < until:
                return size
        return self.sizes[-1][0] if self.sizes else None

    def optimize(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer | Muon:
        """Make the optimiser of a network's parameters."""
        if self.optimizer == "muon":
            return Muon(parameters, self.lr, self.weight_decay)
        if self.optimizer == "adamw":
            return torch.optim.AdamW(parameters, self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )


class Task(ABC):
    """Something to train: a network, its loss, and the files that it leaves for the compiler.

    Parameters
    ----------
    about : dict
        JSON values that must be equal for a run to go on: architecture, data, loss.
    network : nn.Module
        The module that holds all weights.
    held_out : optional
        What `test` tests on; without it there is no test.
    """

    about: dict[str, Any]
    network: nn.Module
    held_out: Any = None
    whole: int = 0
    """Size of the batches for which networks are compiled; 0 where none is."""

    def call(self, net: nn.Module, samples: Tensor) -> Tensor:
        """Call a network, by its compiled form where that exists."""
        # A batch of another size, or a test, would be compiled anew for minutes.
        if len(samples) != self.whole or not net.training:
            return torch.as_tensor(net(samples))
        compiled = self.__dict__.setdefault("_compiled", {})
        if net not in compiled:
            compiled[net] = torch.compile(net, dynamic=False)
        try:
            return torch.as_tensor(compiled[net](samples))
        except RuntimeError as error:
            if not type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
                raise
            first = str(error).strip().split("\n", maxsplit=1)[0]
            raise TrainingError(
                f"torch.compile cannot make a program of the network ({first}); it needs a C++ "
                "compiler: install one, or leave out --compile"
            ) from None

    @abstractmethod
    def loss(self, samples: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch on the device; `rows` (on the CPU) number its samples."""

    @abstractmethod
    def test(self) -> dict[str, Any]:
        """Return figures on the held-out samples."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return the files for the compiler, as bytes by file name."""


class NetworkTask(Task):
    """The training of one network that takes normalised samples, written as ``model.pth``.

    Parameters
    ----------
    net : nn.Module
    about : dict
        The description that :func:`about` made.
    normalization : Normalization
    test : DataSet, optional
        Held-out samples.
    """

    def __init__(
        self,
        net: nn.Module,
        about: dict[str, Any],
        normalization: Normalization,
        test: DataSet | None,
    ) -> None:
        self.network, self.about, self.normalization = net, about, normalization
        self.held_out = test

    def outputs(self, samples: Tensor) -> Tensor:
        """Return the network's outputs for samples, in float32."""
        return self.call(self.network, self.normalization.apply(samples)).float()

    def files(self) -> dict[str, bytes]:
        return {MODEL: as_bytes(cpu_state(self.network))}


def about(
    what: str, architecture: Any, train: DataSet, classes: int, normalization: Normalization,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Describe a run on one architecture; all of it must be equal for the run to go on."""
    return {
        "what": what, **vars(architecture), "classes": classes,
        "input_shape": list(train.kind.shape), "data": train.name, "mean": normalization.mean,
        "std": normalization.std, **more,
    }  # fmt: skip


def on_all(network: nn.Module, outputs: Callable[[Tensor], Tensor], data: DataSet) -> Tensor:
    """Return the outputs for all samples, in evaluation mode, on the CPU."""
    device = next(network.parameters()).device
    network.eval()
    with torch.no_grad():
        # In parts: the activations of all T timesteps are what fills a device's memory.
        parts = torch.split(data.samples, TEST_BATCH)
        return torch.cat([outputs(data.as_float(part).to(device)).cpu() for part in parts])


def fit(
    task: Task,
    data: DataSet,
    recipe: Recipe,
    out: str | Path,
    resume: bool = False,
    progress: Callable[[int], None] | None = None,
    each_epoch: Callable[[Log], None] | None = None,
) -> Log:
    """Train until the last epoch; go on with a run that was cut off.

    Parameters
    ----------
    task : Task
    data : DataSet
    recipe : Recipe
    out : str or Path
        The run's folder.
    resume : bool
        Whether to go on after the last epoch that the folder holds.
    progress : callable, optional
        Function that is called with the number of samples that were just used.
    each_epoch : callable, optional
        Function that is called with the log after every epoch, once its files are written.

    Returns
    -------
    list of dict
        One entry per epoch: epoch (from 1), loss, lr, seconds, and the figures of ``task.test``.

    Raises
    ------
    ProgramError
        When the folder holds something else, or a run of another task or recipe.
    TrainingError
        When the loss or a weight is no longer finite; the last good checkpoint is kept.
    """
    out = Path(out)
    whole = {"task": task.about, "recipe": asdict(recipe), "samples": len(data)}
    if recipe.compile:
        task.whole = recipe.batch_size
        task.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = recipe.optimize(task.network.to(recipe.device).parameters())
    _check_sizes(task.network, data, recipe)
    average = Average(task.network, recipe.average)
    log = _begin(out, whole, resume, task.network, optimizer, average)
    if progress and log:
        progress(len(log) * len(data))
    for epoch in range(len(log), recipe.epochs):
        started = time.perf_counter()
        loss = _epoch(task, data, recipe, optimizer, average, epoch, progress, out)
        # Batch norm's running statistics can overflow while every loss is still finite.
        _check_finite(task.network, epoch, out)
        with average.used():
            log.append({
                "epoch": epoch + 1, "loss": loss, "lr": recipe.rate(epoch / recipe.epochs),
                "seconds": round(time.perf_counter() - started, 2),
                **(task.test() if task.held_out is not None else {}),
            })  # fmt: skip
            files = task.files()
        _save(out, whole, files, _state(task, optimizer, average, log), log)
        if each_epoch:
            each_epoch(log)
    return log


def _epoch(
    task: Task,
    data: DataSet,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer | Muon,
    average: Average,
    epoch: int,
    progress: Callable[[int], None] | None,
    out: Path,
) -> float:
    """Train for one pass over the data; return the mean loss per sample."""
    task.network.train()
    # Order and augmentation depend on seed and epoch alone, so a resumed run sees the same batches.
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    total, seen = 0.0, 0
    drawn = batches(data, recipe.batch_size, generator, recipe.augment, recipe.cutout)
    for step, (drawn_samples, labels, rows) in enumerate(drawn, start=1):
        done = (epoch + seen / len(data)) / recipe.epochs
        samples, rate = resized(drawn_samples, recipe.size(done)), recipe.rate(done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        # The loss alone; gradients and weights stay float32, or small updates would be rounded
        # away.
        with torch.autocast(torch.device(recipe.device).type, torch.bfloat16, recipe.bf16):
            loss = task.loss(samples.to(recipe.device), labels.to(recipe.device), rows)
        # Before the step, so that the weights on disk and in memory stay those of a good loss.
        if not torch.isfinite(loss):
            raise _diverged(f"the loss became {float(loss.detach())}", epoch, out, step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if not _all_finite(task.network):
            raise _diverged("a gradient is no longer finite", epoch, out, step)
        optimizer.step()
        average.update()
        total, seen = total + float(loss.detach()) * len(rows), seen + len(rows)
        if progress:
            progress(len(rows))
    return total / max(seen, 1)


def _all_finite(network: nn.Module) -> bool:
    """Whether gradients are finite: neurons of a NaN never spike, so the loss stays finite."""
    sums = [p.grad.sum() for p in network.parameters() if p.grad is not None]
    return bool(torch.isfinite(torch.stack(sums)).all())


def _check_finite(network: nn.Module, epoch: int, out: Path) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise _diverged(f"{name} is no longer finite", epoch, out)


def _diverged(what: str, epoch: int, out: Path, step: int | None = None) -> TrainingError:
    at = f"in epoch {epoch + 1}" + (f", step {step}" if step else "")
    kept = f"the checkpoint of epoch {epoch} is kept in {out}" if epoch else "nothing was written"
    return TrainingError(f"{what} {at}; {kept}; lower the learning rate (--lr)")


def check_smoothing(share: float) -> None:
    """Refuse a label smoothing that is no share of the labels' weight.

    Raises
    ------
    DataError
        When the share does not lie in [0, 1).
    """
    if not 0 <= share < 1:
        raise DataError(f"label_smoothing = {share}; it is a share, in [0, 1)")


def check_size(net: nn.Module, model: str, kind: Kind) -> None:
    """Refuse samples of a size for which the paths of a residual block would not meet.

    Strides round a size up and pools round it down, so odd sizes may differ at the end.

    Raises
    ------
    ModelError
        When the network cannot take samples of this size.
    """
    error = _why_not(net, torch.zeros(1, *kind.shape))
    if error is not None:
        size = "x".join(map(str, kind.shape[1:]))
        raise ModelError(
            f"{model} cannot take samples of {size} ({error}); crop or pad them, e.g. to 32x32"
        )


def _check_sizes(network: nn.Module, data: DataSet, recipe: Recipe) -> None:
    for size, _ in recipe.sizes:
        sample = resized(data.as_float(data.samples[:1]), size).to(recipe.device)
        error = _why_not(network, sample)
        if error is not None:
            first = str(error).partition("\n")[0]
            raise DataError(
                f"sizes: the network cannot take samples of {size}x{size} ({first}); "
                "leave that size out"
            )


def _why_not(network: nn.Module, samples: Tensor) -> RuntimeError | None:
    """Return why a network cannot take samples, in evaluation mode; None where it can."""
    try:
        with torch.no_grad():
            network.eval()(samples)
    except RuntimeError as error:
        return error
    return None


# --- a run's folder ------------------------------------------------------------------------------


def _begin(
    out: Path,
    about: dict[str, Any],
    resume: bool,
    network: nn.Module,
    optimizer: torch.optim.Optimizer | Muon,
    average: Average,
) -> Log:
    """Check the run's folder, and bring network and optimiser to the state stored there."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return []
    stored = _read_about(out)
    if not resume:
        raise ProgramError(f"{out}: holds a training run; add --resume to go on, or name another")
    _check_same(out, stored, json.loads(json.dumps(about)))  # tuples become lists, as in the file
    try:
        state = torch.load(out / STATE, map_location="cpu", weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average.restore(state.get("average", {}))
        log: Log = json.loads(state["log"])
    except Exception as error:  # torch raises many kinds for a damaged file
        first = str(error).split("\n", maxsplit=1)[0]
        raise ProgramError(f"{out / STATE}: cannot be resumed ({first})") from None
    return log


def _read_about(out: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads((out / ABOUT).read_text())
        found = stored["format"], stored["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ProgramError(f"{out}: exists and holds no training run; name another") from None
    if found != (FORMAT, VERSION):
        raise ProgramError(f"{out}: format {found[0]!r} version {found[1]}; train again")
    return stored


def _check_same(out: Path, stored: dict[str, Any], about: dict[str, Any]) -> None:
    # A run of an earlier version says nothing of what came since, which it did without.
    known = {"task": {}, "recipe": json.loads(json.dumps(asdict(Recipe())))}
    if about["task"]["what"] == "snn":
        known["task"] = {"loss": "tet"}
    for part, defaults in known.items():
        # What the stored run had and this one lacks, as a teacher, is another option too.
        for name in {**stored[part], **about[part]}:
            found, value = ({**defaults, **given[part]}.get(name) for given in (stored, about))
            if found != value:
                raise ProgramError(
                    f"{out}: is a run with {name} {found}, not {value}; "
                    "go on with the same options, or name another folder"
                )
    if stored["samples"] != about["samples"]:
        raise ProgramError(
            f"{out}: is a run on {stored['samples']} samples, not {about['samples']}"
        )


def _state(
    task: Task, optimizer: torch.optim.Optimizer | Muon, average: Average, log: Log
) -> dict[str, Any]:
    return {
        "network": task.network.state_dict(), "optimizer": optimizer.state_dict(),
        "average": average.state(), "log": json.dumps(log),
    }  # fmt: skip


def _save(
    out: Path, about: dict[str, Any], files: dict[str, bytes], state: dict[str, Any], log: Log
) -> None:
    """Write every file whole, and the state last, so that it never runs ahead of the others."""
    out.mkdir(parents=True, exist_ok=True)
    folders.write_json(out / ABOUT, {"format": FORMAT, "version": VERSION, **about})
    for name, content in files.items():
        folders.write_file(out / name, content)
    folders.write_file(out / LOG, "".join(json.dumps(line) + "\n" for line in log))
    folders.write_file(out / TABLE, table(log))
    folders.write_file(out / STATE, as_bytes(state))


def table(log: Log) -> str:
    """Return a log as a CSV table; of a list, as accuracy by timestep, each value is a column."""
    flat = []
    for line in log:
        row = dict[str, Any]()
        for name, found in line.items():
            lists = isinstance(found, list)
            row |= {f"{name}_{i}": x for i, x in enumerate(found, 1)} if lists else {name: found}
        flat.append(row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in flat for name in line)))
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def as_bytes(state: dict[str, Any]) -> bytes:
    """Return what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def cpu_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a state_dict as SEENN's training script saves it, on the CPU."""
    state = network.state_dict().items()
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state}
