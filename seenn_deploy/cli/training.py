"""``seenn train``, one command per training function; torch is imported inside the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.progress import shown

if TYPE_CHECKING:
    from seenn_deploy.training.loop import Log

Fields = TypeVar("Fields")
_OLD = {"device": "torch-device"}  # where --device is what runs a program, as everywhere else


def _timesteps(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    found = opt.numbers(context, parameter, text)
    if not all(n.is_integer() for n in found or ()):
        raise click.BadParameter(f"{text!r}: give whole numbers with commas")
    return None if found is None else tuple(map(int, found))


def _sizes(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[tuple[int, float], ...]:
    try:
        pairs = [part.split(":") for part in text.split(",")] if text else []
        return tuple((int(size), float(share)) for size, share in pairs)
    except ValueError:
        raise click.BadParameter(f"{text!r}: give sizes with their shares, 24:0.5,32:0.5") from None


def _named_numbers(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (text.split("=") for text in texts)}
    except ValueError:
        raise click.BadParameter(f"{', '.join(texts)!r}: give NAME=NUMBER, margin=5") from None


_CLASSES = click.option(
    "--classes", type=click.IntRange(min=2), help="Number of classes.  [default: from the labels]"
)
_RUN = opt.together(
    click.option("--data", required=True, type=opt.PATH,
                 help="Samples: .npz (images, frames, event recordings) or class folders."),
    click.option("--test", type=opt.PATH, help="Held-out samples, measured after every epoch."),
    click.option("-o", "--out", required=True, type=opt.PATH,
                 help="Folder of the run; its log.jsonl grows by one line per epoch."),
    click.option("--limit", type=click.IntRange(min=1),
                 help="Use only the first LIMIT samples of --data."),
    click.option("--test-limit", type=click.IntRange(min=1),
                 help="Use only the first samples of --test."),
    click.option("--epochs", type=int, default=10, show_default=True),
    click.option("--batch-size", type=int, default=128, show_default=True),
    click.option("--lr", type=float, default=0.05, show_default=True,
                 help="Learning rate at the start; it falls to 0 along a cosine."),
    click.option("--warmup", type=click.FloatRange(0, 1, max_open=True), default=0.0,
                 show_default=True, help="Share of all batches over which the rate rises first."),
    click.option("--optimizer", type=click.Choice(["sgd", "adamw", "muon"]), default="sgd",
                 show_default=True,
                 help="muon learns the training samples fastest, with the rates and decay of "
                      "adamw: --lr 2e-3 --weight-decay 0.05."),
    click.option("--momentum", type=float, default=0.9, show_default=True, help="Of sgd."),
    click.option("--weight-decay", type=float, default=5e-4, show_default=True),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option("--torch-device", "device", default="cpu", show_default=True,
                 help="Device that torch computes on: cpu or cuda."),
    click.option(
        "--bf16",
        is_flag=True,
        help="Compute in bfloat16; weights stay float32. Not every processor is faster so.",
    ),
    click.option("--compile/--no-compile", "compile", default=False, show_default=True,
                 help="Compile the network with torch.compile: minutes before the first step, "
                      "and several times as fast then."),
    click.option("--augment", type=click.Choice(["crop-flip", "crop", "none"]),
                 default="crop-flip", show_default=True),
    click.option("--cutout", type=click.IntRange(min=0), default=0, show_default=True,
                 help="Side of a square of zeros that hides a part of each sample, in pixels."),
    click.option("--sizes", callback=_sizes, metavar="SIZE:SHARE,..",
                 help="Resize samples: 24:0.5,32:0.5 trains on 24x24 for half of all batches, "
                      "in about half the time, and then on 32x32.  [default: as they are]"),
    click.option("--average", type=click.FloatRange(0, 1, max_open=True), default=0.0,
                 show_default=True,
                 help="Share of the weights' running mean that a step leaves, e.g. 0.998; the "
                      "mean is tested and written."),
    click.option("--resume", is_flag=True, help="Go on with a run that was cut off."),
    click.option("--plot", type=opt.PATH, callback=opt.new_file,
                 help="PNG or SVG file for a picture of the log."),
)  # fmt: skip
_INIT = click.option("--init", help="State_dict to start from.")
_NETWORK = opt.together(
    click.option("--model", default="resnet19", show_default=True,
                 help="resnet8/18/19/20/34, sew-resnet34, vgg16, vggsnn, vggsnn-woap, "
                      "spikformer; for signals (N, T, C) mlp or rnn."),
    click.option("--width", type=float, default=1.0, show_default=True,
                 help="Factor on the paper's channels; 0.125 is SEENN's width_mult=1."),
    click.option("-T", "--timesteps", "T", type=int, default=4,
                 help="Number of timesteps.  [default: 4; of signals all]"),
    click.option("--tau", type=float, default=0.5, show_default=True,
                 help="Leak of the LIF neurons: the share of the potential that a timestep "
                      "leaves."),
    click.option("--threshold", "v_threshold", type=float, default=1.0, show_default=True,
                 help="Firing threshold V of the LIF neurons."),
    click.option("--surrogate", type=click.Choice(["triangle", "dspike"]), default="triangle",
                 show_default=True, help="dspike networks compile with --comparison '>='."),
    click.option("--gamma", type=float, help="Width of the surrogate gradient.  [default: 1; 3 "
                                             "for dspike]"),
    _INIT,
    _CLASSES,
    opt.MEAN_STD,
)  # fmt: skip
_SMOOTHING = click.option(
    "--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.0,
    show_default=True, help="Share of the labels' weight that is spread over all classes.",
)  # fmt: skip
_CHOICES = opt.together(
    click.option("--error-cost", "beta", type=float, default=1.0, show_default=True,
                 help="Cost of a wrong prediction, SEENN's beta; the larger it is, the more "
                      "timesteps are chosen."),
    click.option("--choices", callback=_timesteps,
                 help="Timesteps to choose from, with commas.  [default: 1,..,T]"),
    click.option("--policy-width", type=float, default=1.0, show_default=True,
                 help="Factor on the policy network's 16-32-64 channels."),
)  # fmt: skip


@click.group()
def train() -> None:
    """Train a spiking network, a policy network for it, or both.

    A spiking network alone is SEENN-I; with a policy network it is SEENN-II.

    \b
    Examples:
      seenn train snn --model resnet19 --data train.npz --test test.npz -o run/
      seenn-compile run/model.pth -o build/
      seenn train policy build/ --data train.npz --error-cost 3 -o policy/
      seenn-compile run/model.pth --policy policy/policy.onnx -o build2/
    """


@train.command("snn", cls=opt.renaming(**_OLD))
@_RUN
@_NETWORK
@click.option("--loss", default="tet", show_default=True,
              help="tet, distill, gap, mixed or rcs; the page Training losses says what each is "
                   "for.")  # fmt: skip
@click.option("--loss-option", "loss_options", multiple=True, callback=_named_numbers,
              metavar="NAME=NUMBER", help="A parameter of the loss: margin=5, say. Repeat it for "
                                          "more.")  # fmt: skip
@click.option("--tet-weight", type=float,
              help="Weight of the term that keeps logits near --tet-mean: lambda of "
                   "TET.  [default: 0.001]")  # fmt: skip
@click.option("--tet-mean", type=float, help="What TET keeps logits near.  [default: 1]")
@click.option("--teacher", type=opt.PATH,
              help="ANN whose logits are learned beside the labels: a state_dict of SEENN's "
                   "ResNet with ReLU.")  # fmt: skip
@click.option("--teacher-weight", type=click.FloatRange(0, 1), default=0.6, show_default=True,
              help="Weight of the teacher's logits; the labels have the rest.")  # fmt: skip
@click.option("--teacher-views", is_flag=True,
              help="Show the teacher the samples as the network sees them, cropped and mirrored, "
                   "for one pass of the ANN per step.")  # fmt: skip
@_SMOOTHING
def snn_command(plot: Path | None, out: Path, **options: Any) -> None:
    """Train a spiking network, with the TET loss or another.

    seenn-compile takes the OUT/model.pth that it writes.

    \b
    Examples:
      seenn train snn --model resnet19 --width 0.125 -T 4 --data train.npz --epochs 6 -o run/
      seenn train snn --loss gap --loss-option margin=8 --data train.npz -o run/
      seenn train snn --model rnn --data signals.npz --optimizer adamw --lr 5e-3 -o run/
    """
    from seenn_deploy.training.tasks import Architecture, train_snn

    _train(train_snn, out, plot, options, architecture=_taken(Architecture, options))
    click.echo(f"compile it: seenn-compile {out / 'model.pth'} {_flags(out)} -o build/")


@train.command("policy", cls=opt.renaming(**_OLD, beta="error-cost"))
@click.argument("build", type=opt.PATH)
@_RUN
@_CHOICES
@click.option("--entropy", "entropy_weight", type=click.FloatRange(min=0), default=0.0,
              show_default=True,
              help="Weight of the choice's entropy beside the reward, e.g. 0.1; it keeps the "
              "choice from settling on one timestep early.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the simulator.")
def policy_command(build: Path, plot: Path | None, out: Path, **options: Any) -> None:
    """Train a policy network for the program in BUILD.

    The program's weights stay as they are; seenn-compile --policy takes the OUT/policy.onnx.

    \b
    Example:
      seenn train policy build/ --data train.npz --error-cost 3 --epochs 3 -o policy/
    """
    from seenn_deploy.ir.program import Program
    from seenn_deploy.training.tasks import train_policy

    _train(train_policy, out, plot, options, program=Program.load(build))
    click.echo(f"compile with it: seenn-compile MODEL --policy {out / 'policy.onnx'} -o build/")


@train.command("joint", cls=opt.renaming(**_OLD, beta="error-cost"))
@_RUN
@_NETWORK
@_CHOICES
@click.option("--weight", type=float, default=1.0, show_default=True,
              help="Weight of the cross-entropy beside the reward.")  # fmt: skip
@click.option(
    "--policy-init", type=opt.PATH, help="The policy.pth of `seenn train policy`, to start from."
)
def joint_command(plot: Path | None, out: Path, **options: Any) -> None:
    """Train a spiking network and its policy network together.

    \b
    Example:
      seenn train joint --init run/model.pth --policy-init policy/policy.pth --data train.npz -o j/
    """
    from seenn_deploy.training.tasks import Architecture, train_joint

    _train(train_joint, out, plot, options, architecture=_taken(Architecture, options))
    click.echo(
        f"compile it: seenn-compile {out / 'model.pth'} {_flags(out)} "
        f"--policy {out / 'policy.onnx'} -o build/"
    )


@train.command("ann", cls=opt.renaming(**_OLD))
@_RUN
@click.option("--model", default="resnet20", show_default=True,
              help="resnet8/18/20/34 or vgg16.")  # fmt: skip
@click.option(
    "--width", type=float, default=1.0, show_default=True, help="Factor on the published channels."
)
@click.option("--levels", type=click.IntRange(min=1), default=8, show_default=True,
              help="Levels of every QCFS activation; convert with T of about as many "
                   "timesteps.")  # fmt: skip
@_INIT
@_SMOOTHING
@_CLASSES
@opt.MEAN_STD
def ann_command(plot: Path | None, out: Path, **options: Any) -> None:
    """Train an ANN with QCFS activations.

    seenn convert takes the OUT/model.pth that it writes.

    \b
    Example:
      seenn train ann --model resnet20 --data train.npz --test test.npz --lr 0.1 -o ann/
      seenn convert ann/model.pth -T 16 -o build/
    """
    from seenn_deploy.training.qcfs import AnnArchitecture, train_ann

    _train(train_ann, out, plot, options, architecture=_taken(AnnArchitecture, options))
    click.echo(f"convert it: seenn convert {out / 'model.pth'} {_image_flags(out)} -o build/")


def _taken(kind: type[Fields], options: dict[str, Any]) -> Fields:
    """Make a dataclass of the options that are named like its fields, and take them out."""
    return kind(**{f.name: options.pop(f.name) for f in fields(cast(Any, kind))})


def _train(
    train: Callable[..., Log], out: Path, plot: Path | None, options: dict[str, Any], **what: Any
) -> None:
    """Train with a progress bar over the samples of all epochs, and show the log."""
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables.training import epoch_line, log_table
    from seenn_deploy.training.loop import Recipe
    from seenn_deploy.training.memory import keep_freed_memory
    from seenn_deploy.training.plot import draw

    keep_freed_memory()
    recipe = _taken(Recipe, options)
    # Counted from headers alone, before anything heavy is read.
    samples = options["limit"] or _samples(options["data"])
    with shown(None, "training", recipe.epochs * samples or None) as advance:
        log = train(
            out=out, recipe=recipe, progress=advance, **what, **options,
            each_epoch=lambda log: click.echo(epoch_line(log, recipe.epochs), err=True),
        )  # fmt: skip
    console.show(log_table(log))
    if plot is not None:
        draw(log, plot)
        click.echo(f"plot: {plot}")


def _samples(data: Path) -> int:
    """Count a data set's samples by its headers; 0 where only reading it would tell."""
    from seenn_deploy.io.images.sources import NpzMember, npz_keys

    if data.suffix.lower() != ".npz" or not data.is_file():
        return sum(1 for _ in data.glob("*/*")) if data.is_dir() else 0
    found = [key for key in ("labels", "y") if key in npz_keys(data)]
    return NpzMember.open(data, found[0]).shape[0] if found else 0


def _flags(out: Path) -> str:
    """Return the options that seenn-compile needs because the checkpoint does not contain them."""
    task = _task(out)
    flags = [f"-T {task['T']}", *([found] if (found := _image_flags(out)) else [])]
    if task["surrogate"] == "dspike":
        flags.append("--comparison '>='")
    # What SEENN's defaults say already would only make the line longer.
    flags += [f"--tau {task['tau']}"] if task["tau"] != 0.5 else []
    flags += [f"--threshold {task['v_threshold']}"] if task["v_threshold"] != 1 else []
    return " ".join(flags)


def _image_flags(out: Path) -> str:
    """Return the options for image size and normalisation, which no checkpoint contains."""
    task = _task(out)
    # Convolutions fit any size, so nothing in the weights would tell a wrong one.
    signals = task["input_shape"][1:] == [1, 1]
    flags = [] if signals else ["--input-size {}x{}".format(*task["input_shape"][1:])]
    # Of three channels the compiler would assume CIFAR-10's normalisation.
    if task["mean"] is None and task["input_shape"][0] == 3 and not signals:
        flags.append("--no-normalize")
    if task["mean"] is not None:
        flags += [f"--{k} {','.join(map(str, task[k]))}" for k in ("mean", "std")]
    return " ".join(flags)


def _task(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "train.json").read_text())["task"]
    return found
