"""The things that can be trained: a spiking network, a policy for a program, both together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seenn_deploy.errors import DataError, ModelError, ProgramError
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.exits.policy import FILE as POLICY
from seenn_deploy.exits.policy_network import writing
from seenn_deploy.io.images.spec import PIXELS
from seenn_deploy.ir.program import Program
from seenn_deploy.metrics import accuracy_by_step
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.training import loop, losses, models
from seenn_deploy.training.data import (
    DataSet,
    Kind,
    Normalization,
    find_kind,
    load_both,
    timesteps,
)
from seenn_deploy.training.distillation import Teacher, teacher_of
from seenn_deploy.training.losses.base import Batch, Loss
from seenn_deploy.training.models.signals import SIGNALS, SignalNet
from seenn_deploy.training.policy import (
    PolicyModel,
    describe,
    entropy,
    expected_reward,
    joint_loss,
    rewards,
)
from seenn_deploy.training.weights import load_weights

POLICY_WEIGHTS = "policy.pth"
Progress = Callable[[int], None] | None


@dataclass(frozen=True)
class Architecture:
    """A spiking network that `seenn_deploy.training.models.build` makes.

    Parameters
    ----------
    model : str
    width : float
        Factor on the channels.
    T : int
        Number of timesteps. Signals have as many as the data has, whatever is said here by default.
    tau, v_threshold, surrogate, gamma
        Parameters of the neurons; see :class:`~seenn_deploy.training.models.neurons.LIF`.
    init : path, optional
        State_dict of the same network, to start from.
    """

    model: str = "resnet19"
    width: float = 1.0
    T: int = 4
    tau: float = 0.5
    v_threshold: float = 1.0
    surrogate: str = "triangle"
    gamma: float | None = None
    init: str | None = None

    def build(self, kind: Kind, classes: int, seed: int) -> nn.Module:
        """Build the network for a data set.

        Raises
        ------
        ModelError
            When there is no such network, it cannot take samples of this size, or `init` does not
            fit it.
        """
        # The seed decides the first weights, so a recipe names one network and not only its
        # batches.
        torch.manual_seed(seed)
        neuron = {k: getattr(self, k) for k in ("tau", "v_threshold", "surrogate", "gamma")}
        size = kind.shape[1]
        # Its classifier is as large as the square of a frame's height.
        if kind.shape[2] != size and self.model.startswith("vggsnn"):
            raise ModelError(f"{self.model} takes square frames, the data is {kind.shape}")
        net = models.build(self.model, classes, kind.shape[0], self.width, self.T, size, **neuron)
        loop.check_size(net, self.model, kind)
        if self.init is not None:
            load_weights(net, self.init)
        return net


# --- SEENN-I: a spiking network ------------------------------------------------------------------


class SpikingTask(loop.NetworkTask):
    """The training of a spiking network, for SEENN-I.

    Parameters
    ----------
    *network
        What `NetworkTask` takes.
    length : Tensor, optional
        Timesteps of each training sample, where they differ.
    recipe : Loss
    taught : (Teacher, float), optional
        A teacher, and the weight of its logits.
    smoothing : float
    """

    def __init__(
        self, *network: Any, recipe: Loss, taught: tuple[Teacher, float] | None = None,
        smoothing: float = 0.0, length: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(*network)
        self.recipe, self.taught, self.smoothing = recipe, taught, smoothing
        self.length = length

    def loss(self, samples: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        teacher, share = self.taught or (None, 0.0)
        known = None if teacher is None else teacher(samples, rows)
        length = None if self.length is None else self.length[rows]
        batch = Batch(samples, labels, rows, known, share, self.smoothing, length)
        return self.recipe.on_batch(self.outputs, self.network, batch)

    def test(self) -> dict[str, Any]:
        return step_figures(accumulated(self.network, self.outputs, self.held_out), self.held_out)


def accumulated(net: nn.Module, outputs: Callable[[Tensor], Tensor], data: DataSet) -> Tensor:
    """Return the accumulated logits (N, T, M) of all samples, on the CPU.

    Behind a sample's end those of its last timestep stand.
    """
    z = loop.on_all(net, lambda samples: outputs(samples).cumsum(dim=1), data)
    if data.length is None:
        return z
    last = torch.minimum(torch.arange(z.shape[1]), data.length[:, None] - 1)
    return z.gather(1, last[:, :, None].expand_as(z))


def step_figures(z: Tensor, data: DataSet) -> dict[str, Any]:
    """Return the accuracy at t = 1..T, from accumulated logits."""
    found = accuracy_by_step(z.numpy(), data.labels.numpy())
    # Rounded for a log that is read by eye; no decision is taken on these figures.
    return {"accuracy_by_step": [round(float(a), 6) for a in found]}


def train_snn(
    data: str | Path,
    out: str | Path,
    architecture: Architecture,
    recipe: loop.Recipe,
    *,
    test: str | Path | None = None,
    classes: int | None = None,
    loss: str = "tet",
    loss_options: Mapping[str, float] | None = None,
    tet_weight: float | None = None,
    tet_mean: float | None = None,
    teacher: str | Path | None = None,
    teacher_weight: float = 0.6,
    teacher_views: bool = False,
    label_smoothing: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    resume: bool = False,
    progress: Progress = None,
    each_epoch: Callable[[loop.Log], None] | None = None,
) -> loop.Log:
    """Train a spiking network for SEENN-I.

    Parameters
    ----------
    data, test : str or Path
        Training and held-out samples; see :func:`seenn_deploy.training.data.load`.
    out : str or Path
        The run's folder; ``seenn-compile`` takes the ``model.pth`` in it.
    architecture : Architecture
    recipe : Recipe
    classes : int, optional
        Number of classes; by default one more than the largest label.
    loss : str
        Name of a loss of :mod:`seenn_deploy.training.losses`.
    loss_options : dict, optional
        Parameters of the loss by name.
    tet_weight, tet_mean : float, optional
        The parameters of the loss ``tet``.
    teacher : str or Path, optional
        State_dict of an ANN whose logits the network learns beside the labels; see
        :mod:`seenn_deploy.training.distillation`.
    teacher_weight : float in [0, 1]
        Weight of the teacher's logits; that of the loss is the rest.
    teacher_views : bool
        Whether the teacher sees the samples as the network does, cropped and mirrored.
    label_smoothing : float in [0, 1)
        Share of the labels' weight that is spread over all classes.
    mean, std : sequence of one number per channel, optional
        Normalisation of pixels; by default CIFAR-10's for 3 channels, as in ``seenn-compile``.
    limit, test_limit : int, optional
        Number of samples to use; the first ones are taken.
    resume : bool
        Whether to go on with a run that was cut off.
    progress : callable, optional
        Function that is called with the number of samples that were just used.
    each_epoch : callable, optional
        Function that is called with the log after every epoch, once its files are written.

    Returns
    -------
    list of dict
        One entry per epoch, with ``accuracy_by_step`` on `test`.

    Raises
    ------
    DataError, ModelError, ProgramError, TrainingError
        When the data, the architecture or the folder does not fit, or training diverges.
    """
    loop.check_smoothing(label_smoothing)
    architecture, recipe = _for_signals(architecture, recipe, data)
    train, held_out = load_both(data, test, architecture.T, classes, limit, test_limit)
    classes = classes or train.classes
    normalization = Normalization.of(train.kind, mean, std)
    net = architecture.build(train.kind, classes, recipe.seed)
    if isinstance(net, SignalNet) and architecture.init is None:
        net.standardize(train.samples, train.length)
    chosen = _loss(loss, loss_options or {}, tet_weight, tet_mean, recipe)
    chosen.check(net)
    chosen.check_data(train.length)
    more: dict[str, Any] = {"loss": loss, **{f"{loss}_{k}": v for k, v in vars(chosen).items()}}
    taught = None
    if teacher is not None:
        theirs = teacher_of(teacher, train, classes, normalization, recipe, teacher_views)
        taught = theirs, teacher_weight
        more |= {"teacher": str(teacher), "teacher_weight": teacher_weight}
        more |= {"teacher_views": True} if teacher_views else {}
    if label_smoothing:
        more["label_smoothing"] = label_smoothing
    agreed = loop.about("snn", architecture, train, classes, normalization, **more)
    task = SpikingTask(
        net, agreed, normalization, held_out, recipe=chosen, taught=taught,
        smoothing=label_smoothing, length=train.length,
    )  # fmt: skip
    return loop.fit(task, train, recipe, out, resume, progress, each_epoch)


def _for_signals(
    architecture: Architecture, recipe: loop.Recipe, data: str | Path
) -> tuple[Architecture, loop.Recipe]:
    """Take T of signals from the data, and leave out what is done to images alone.

    Raises
    ------
    DataError, ModelError
        When the data are signals and the network takes images, or the other way round, or T or an
        option for images does not fit.
    """
    signals, T = find_kind(Path(data)).shape[1:] == (1, 1), timesteps(data)
    if signals != (architecture.model in SIGNALS):
        takes = "signals (N, T, C): --model mlp or rnn takes them" if signals else "no signals"
        raise ModelError(f"{architecture.model}: {data} holds {takes}")
    if not signals or T is None:
        return architecture, recipe
    if architecture.T not in (T, Architecture.T):
        raise DataError(f"{data}: signals of {T} timesteps, T = {architecture.T}; leave T out")
    if recipe.cutout or recipe.sizes:
        raise DataError(f"{data}: holds signals; cutout and sizes are for images")
    return replace(architecture, T=T), replace(recipe, augment="none")


def _loss(
    name: str,
    options: Mapping[str, float],
    tet_weight: float | None,
    tet_mean: float | None,
    recipe: loop.Recipe,
) -> Loss:
    """Make the loss; `tet_weight` and `tet_mean` are names of older scripts for two options."""
    older = {k: v for k, v in (("weight", tet_weight), ("mean", tet_mean)) if v is not None}
    if older and name != "tet":
        raise DataError(f"tet_{next(iter(older))} belongs to the loss tet, not to {name}")
    found = losses.named(name, **{**options, **older})
    if recipe.compile and not found.compiles:
        raise DataError(f"loss {name} looks into the network, which --compile makes one program")
    return found


# --- SEENN-II: a policy for a program ------------------------------------------------------------


class PolicyTask(loop.Task):
    """The training of a policy network for a spiking network that stays as it is."""

    def __init__(
        self,
        policy: PolicyModel,
        about: dict[str, Any],
        shape: tuple[int, ...],
        program: tuple[int, int],
        beta: float,
        train: tuple[Tensor, Tensor],
        test: tuple[DataSet, Tensor] | None,
        entropy_weight: float = 0.0,
    ) -> None:
        self.network, self.policy, self.about = policy, policy, about
        self.entropy_weight = entropy_weight
        self.shape, (self.classes, self.T), self.beta = shape, program, beta
        # Known for every action beforehand, because the spiking network no longer changes.
        self.worth = rewards(*train, policy.choices, beta)
        self.held_out = test

    def loss(self, samples: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        scores = self.call(self.policy, samples).float()
        reward = expected_reward(scores, self.worth[rows].to(samples.device))
        return -reward - self.entropy_weight * entropy(scores)

    def test(self) -> dict[str, Any]:
        data, z = self.held_out
        return policy_figures(self.policy, data, z, self.beta)

    def files(self) -> dict[str, bytes]:
        onnx = writing.to_onnx(describe(self.policy), self.shape, self.classes, self.T)
        return {POLICY: onnx, POLICY_WEIGHTS: loop.as_bytes(loop.cpu_state(self.policy.net))}


def policy_figures(policy: PolicyModel, data: DataSet, z: Tensor, beta: float) -> dict[str, Any]:
    """Return accuracy, mean timesteps and reward where samples take their best-scored action."""
    action = loop.on_all(policy, policy, data).argmax(dim=1, keepdim=True)
    worth = rewards(z, data.labels, policy.choices, beta).gather(1, action)
    k = torch.tensor(policy.choices)[action]
    picked = z.gather(1, (k - 1)[:, :, None].expand(-1, -1, z.shape[2]))[:, 0]  # logits at k
    return {
        "accuracy": float((picked.argmax(dim=1) == data.labels).float().mean()),
        "mean_exit_step": float(k.float().mean()),
        "reward": float(worth.mean()),
    }


def train_policy(
    program: Program,
    data: str | Path,
    out: str | Path,
    recipe: loop.Recipe,
    *,
    beta: float = 1.0,
    choices: Sequence[int] | None = None,
    policy_width: float = 1.0,
    entropy_weight: float = 0.0,
    test: str | Path | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    threads: int | None = None,
    resume: bool = False,
    progress: Progress = None,
    each_epoch: Callable[[loop.Log], None] | None = None,
) -> loop.Log:
    """Train a policy network for a program, whose weights stay as they are.

    The program's logits are computed once, by the simulator, on the samples as they are;
    augmentation changes only what the policy sees.

    Parameters
    ----------
    program : Program
        A program that takes images (direct coding).
    data, test : str or Path
        Training and held-out images.
    out : str or Path
        The run's folder; ``exits.Policy`` takes the ``policy.onnx`` in it.
    recipe : Recipe
    beta : float
        Cost of a wrong prediction; the larger it is, the more timesteps the policy chooses.
    choices : sequence of timesteps, optional
        The timesteps that the policy chooses from; 1..T by default.
    policy_width : float
        Factor on the policy network's 16-32-64 channels.
    entropy_weight : float
        Weight of the choice's entropy beside the reward; 0 leaves it out.
    limit, test_limit : int, optional
        Number of samples to use; the first ones are taken.
    threads : int, optional
        Number of threads of the simulator.
    resume, progress, each_epoch
        As in `train_snn`.

    Returns
    -------
    list of dict
        One entry per epoch, with ``accuracy``, ``mean_exit_step`` and ``reward`` on `test`.

    Raises
    ------
    DataError, ProgramError, TrainingError
        When the data, the program or the folder does not fit, or training diverges.
    """
    if not entropy_weight >= 0:
        raise ProgramError(f"entropy = {entropy_weight}; it must be 0 or above")
    choices = _checked_choices(choices, program.T)
    shape, classes = program.graph.source.shape, program.graph.readout.shape[0]
    kind = _kind_for(program, Path(data))
    train, held_out = load_both(data, test, program.T, classes, limit, test_limit, kind)
    torch.manual_seed(recipe.seed)
    # The policy's input is the program's own, so both have one normalisation.
    given = program.graph.source.normalization
    normalization = Normalization(*map(tuple, given)) if given else Normalization()
    policy = PolicyModel(choices, shape[0], normalization, width=policy_width)
    agreed = {
        "what": "policy", "choices": list(choices), "beta": beta, "policy_width": policy_width,
        "entropy": entropy_weight, "T": program.T, "classes": classes, "input_shape": list(shape),
        "program": program.fingerprint, "data": train.name,
    }  # fmt: skip
    z = known_logits(program, train, threads)
    tested = (held_out, known_logits(program, held_out, threads)) if held_out else None
    task = PolicyTask(
        policy, agreed, shape, (classes, program.T), beta, (z, train.labels), tested, entropy_weight
    )
    return loop.fit(task, train, recipe, out, resume, progress, each_epoch)


def known_logits(program: Program, data: DataSet, threads: int | None = None) -> Tensor:
    """Simulate a program without exits; return its accumulated logits (N, T, M)."""
    # The program's own exit would leave the later timesteps empty, which a policy may choose.
    run = simulate(program.with_exit(Fixed()), data.program_input(), threads=threads)
    return torch.from_numpy(run.logits)


def _checked_choices(choices: Sequence[int] | None, T: int) -> tuple[int, ...]:
    found = tuple(choices or range(1, T + 1))
    # Ascending, so that of equal scores the earlier exit is taken.
    if sorted(set(found)) != list(found) or found[0] < 1 or found[-1] > T:
        raise ProgramError(f"choices {found}: give ascending timesteps between 1 and T = {T}")
    return found


def _kind_for(program: Program, data: Path) -> Kind:
    source = program.graph.source
    if source.coding != "direct":
        raise ProgramError(
            "a policy network sees the image before the network starts, this program takes events "
            "step by step"
        )
    kind = find_kind(data)
    # Bytes divided by 255 would be taken for normalised values, and the rewards be nonsense.
    if kind.pixels and program.input_range != PIXELS:
        raise DataError(
            f"{data}: holds pixels, but normalisation is not part of this program; compile it "
            "without --no-normalize"
        )
    return Kind(source.shape, "direct", kind.pixels)


# --- both together -------------------------------------------------------------------------------


class JointTask(PolicyTask):
    """The training of spiking network and policy together, after each was trained alone."""

    def __init__(
        self,
        net: nn.Module,
        policy: PolicyModel,
        about: dict[str, Any],
        train: DataSet,
        test: DataSet | None,
        beta: float,
        weight: float,
    ) -> None:
        self.net, self.policy, self.about = net, policy, about
        self.network = nn.ModuleDict({"snn": net, "policy": policy})
        self.shape, self.classes, self.T = train.kind.shape, about["classes"], about["T"]
        self.beta, self.weight, self.held_out = beta, weight, test

    def outputs(self, samples: Tensor) -> Tensor:
        """Return the logits of each timestep, in float32."""
        return self.call(self.net, self.policy.normalization.apply(samples)).float()

    def loss(self, samples: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        scores, logits = self.call(self.policy, samples).float(), self.outputs(samples)
        return joint_loss(scores, logits, labels, self.policy.choices, self.beta, self.weight)

    def test(self) -> dict[str, Any]:
        z = accumulated(self.net, self.outputs, self.held_out)
        figures = policy_figures(self.policy, self.held_out, z, self.beta)
        return {**step_figures(z, self.held_out), **figures}

    def files(self) -> dict[str, bytes]:
        return {loop.MODEL: loop.as_bytes(loop.cpu_state(self.net)), **super().files()}


def train_joint(
    data: str | Path,
    out: str | Path,
    architecture: Architecture,
    recipe: loop.Recipe,
    *,
    beta: float = 1.0,
    weight: float = 1.0,
    choices: Sequence[int] | None = None,
    policy_width: float = 1.0,
    policy_init: str | Path | None = None,
    test: str | Path | None = None,
    classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    resume: bool = False,
    progress: Progress = None,
    each_epoch: Callable[[loop.Log], None] | None = None,
) -> loop.Log:
    """Train a spiking network and its policy together.

    Parameters
    ----------
    data, out, architecture, recipe, test, classes, mean, std, limit, test_limit, resume, progress,
    each_epoch
        As in `train_snn`; ``architecture.init`` is usually a trained network.
    beta, choices, policy_width
        As in `train_policy`.
    weight : float
        Weight of the cross-entropy, see :func:`~seenn_deploy.training.policy.joint_loss`.
    policy_init : path, optional
        The ``policy.pth`` that `train_policy` wrote, to start from.

    Raises
    ------
    DataError, ModelError, ProgramError, TrainingError
        When the data, the architecture or the folder does not fit, or training diverges.
    """
    train, held_out = load_both(data, test, architecture.T, classes, limit, test_limit)
    if train.kind.coding != "direct":
        raise DataError(f"{data}: a policy network takes images, this holds events")
    classes = classes or train.classes
    choices = _checked_choices(choices, architecture.T)
    net = architecture.build(train.kind, classes, recipe.seed)
    normalization = Normalization.of(train.kind, mean, std)
    policy = PolicyModel(choices, train.kind.shape[0], normalization, width=policy_width)
    if policy_init is not None:
        load_weights(policy.net, policy_init)
    more = {
        "choices": list(choices), "beta": beta, "policy_width": policy_width, "weight": weight
    }  # fmt: skip
    agreed = loop.about("joint", architecture, train, classes, normalization, **more)
    task = JointTask(net, policy, agreed, train, held_out, beta, weight)
    return loop.fit(task, train, recipe, out, resume, progress, each_epoch)


__all__ = ["Architecture", "train_joint", "train_policy", "train_snn"]
