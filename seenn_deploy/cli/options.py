"""The options that several commands share, and the reading of their values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from seenn_deploy.errors import SeennError

if TYPE_CHECKING:
    from seenn_deploy.exits import ExitRule
    from seenn_deploy.io.images.image_set import ImageSet
    from seenn_deploy.ir.program import Program

JSON_ON_STDOUT = "seenn_deploy.json_on_stdout"  # of a click context: tables go to standard error
PATH = click.Path(path_type=Path)


class Where(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 alone
    """A path, or an address such as s3://bucket/val.tar, which stays text: a path would fold it."""

    name = "path"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        return value if "://" in str(value) else Path(value)


IMAGES = Where()
F = TypeVar("F", bound=Callable[..., Any])


def numbers(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: give numbers with commas, e.g. 0.49,0.48,0.45"
        ) from None


def size(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = (int(n) for n in text.split("x")) if "x" in text else (int(text),) * 2
    except ValueError:
        raise click.BadParameter(f"{text!r}: give HEIGHTxWIDTH, e.g. 32x32") from None
    return height, width


def target_names(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Read the names of targets, which commas may part, before any work is done for them."""
    from seenn_deploy.ir import program

    names = tuple(dict.fromkeys(name for text in given for name in text.split(",")))
    for name in names:
        if name not in (known := program.target_names()):
            raise click.BadParameter(f"{name!r}: there are {', '.join(known)}")
    return names


def limits(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, float] | None:
    """Read LOW,HIGH."""
    found = numbers(_, __, text)
    if found is not None and len(found) != 2:
        raise click.BadParameter(f"{text!r}: give LOW,HIGH, e.g. 0,1")
    return found


def settings(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE pairs; a value is JSON where it can be (2, [1, 2], true), else text."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{text!r}: give NAME=VALUE, e.g. kappa=2")
        try:
            # Text that is no JSON stays text, so nobody has to quote twice: --set mode=fast.
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def joules(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Read an energy such as 20uJ or 1.5 mJ; a bare number is joules, with a warning."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([pnuµm]?)J?\s*", text)
    factors = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12}
    try:
        energy = float(found[1]) * factors[found[2]] if found else float("bad")
    except ValueError:
        raise click.BadParameter(f"{text!r}: give joules, e.g. 20uJ, 1.5mJ or 3e-5") from None
    if not text.rstrip().endswith(("J", *"pnuµm")):
        # Whoever writes a whole number most likely thinks in the microjoules of the tables.
        number = text.strip()
        write = f"{1e6 * energy:.6g}uJ" if energy < 1 else f"{number}J, or {number}uJ"
        told = f"{text} without a unit is read as joules; write {write}"
        click.echo(f"warning: {told}", err=True)
    return energy


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def new_file(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Check before the work begins that a file can be written after it."""
    from seenn_deploy.io.folders import check_writable

    if path is not None:
        check_writable(path)
        if path.is_dir():
            raise SeennError(f"{path}: is a folder; name a file in it")
    return path


def json_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """A file for --json, checked before the run; '-' is standard output, without the tables."""
    # What is piped into another program must be JSON and nothing else.
    if path == Path("-"):
        context.meta[JSON_ON_STDOUT] = True
        return path
    return new_file(context, parameter, path)


def table_file(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Path | None:
    """A file for --predictions, whose name says its form."""
    # Told now, because the run before the file is written may take an hour.
    if path is not None and path.suffix.lower() not in (".csv", ".json"):
        raise click.BadParameter(f"{str(path)!r}: name a .csv or .json file")
    return new_file(context, parameter, path)


def renaming(**old: str) -> type[click.Command]:
    """Return a command that takes old spellings of options for one release, and says so."""

    class Renaming(click.Command):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            for i, word in enumerate(args):
                name, equals, value = word.partition("=")
                if name[:2] == "--" and (new := old.get(name[2:])):
                    args[i] = f"--{new}{equals}{value}"
                    told = f"{name} is now --{new}; the old spelling goes with the next release"
                    click.echo(f"warning: {told}", err=True)
            return super().parse_args(ctx, args)

    return Renaming


FORCE = click.option(
    "--force", is_flag=True,
    help="Replace what an earlier run of this command wrote into the output folder; all other "
    "files there stay.",
)  # fmt: skip
FOLDER = click.argument("build", type=PATH)
JSON = click.option(
    "--json", "json_file", type=PATH, callback=json_file,
    help="Write the figures to this file; - is standard output, the tables then go to standard "
    "error.",
)  # fmt: skip
PREDICTIONS = click.option(
    "--predictions", type=PATH, callback=table_file,
    help="Write one row per sample to this .csv or .json file: its number, the name of its image "
    "file, class, exit step, confidence and, of a simulation, energy in uJ.",
)  # fmt: skip
COST = click.option(
    "--cost",
    default="paper",
    show_default=True,
    help="Name of a cost model, a file with one, or loihi1-placed: what the cores of a chip spend.",
)
TORCH = click.option(
    "--device", metavar="cpu|cuda[:N]",
    help="Run in torch, in batches, on this device: the same bits of int8, of float32 the same up "
    "to rounding ties.  [default: compiled kernels, event by event]",
)  # fmt: skip
THREADS = click.option("--threads", type=click.IntRange(min=1), help="Default: all cores.")
DEVICE_COMMAND = click.option(
    "--device-command", help="Command that runs the device, e.g. over ssh; see seenn verify --help."
)
TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which the device is given up.",
)  # fmt: skip
MEAN_STD = together(
    click.option("--mean", callback=numbers,
                 help="Mean to normalise with, one number per channel: 0.5,0.5,.."),
    click.option("--std", callback=numbers,
                 help="Standard deviation to normalise with, one number per channel."),
)  # fmt: skip
NO_NORMALIZE = click.option(
    "--no-normalize", is_flag=True,
    help="Leave normalisation out: the program takes normalised input.",
)  # fmt: skip
_RULE_OPTIONS = together(
    click.option("--exit", "exit_name",
                 help="Exit rule: fixed, confidence, entropy, margin, conformal, simes, fusion, "
                 "lookahead, policy, or one of your own."),
    click.option("--alpha", type=float, help="Exit confidence: the largest softmax to exceed, in "
                                             "(0, 1]."),
    click.option("--theta", type=float, help="Exit certainty: 1 - entropy / ln M to exceed, in "
                                             "[0, 1]."),
    click.option("--beta", callback=numbers,
                 help="Exit margin of the logits to exceed: one number, or one per timestep with "
                      "commas."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", callback=settings,
                 help="Set a number of the rule in --exit by its name: --exit lead --set kappa=2."),
    click.option("--exit-file", type=PATH,
                 help="File with an exit rule, from `seenn calibrate` or `seenn sweep`."),
    click.option("--policy", type=PATH,
                 help="SEENN-II: policy network in ONNX, from `seenn train policy` or with one "
                      "score "
                 "per timestep."),
)  # fmt: skip


def with_rule(function: F) -> F:
    """Add the options of an exit rule; the command gets the rule as `rule`, None without any."""

    @wraps(function)
    def command(
        exit_name: str | None, exit_file: Path | None, alpha: float | None, theta: float | None,
        beta: tuple[float, ...] | None, policy: Path | None, settings: dict[str, Any],
        **options: Any,
    ) -> Any:  # fmt: skip
        # One number holds at every timestep; several are one per timestep.
        one_beta = beta[0] if beta and len(beta) == 1 else beta
        numbers = {"alpha": alpha, "theta": theta, "beta": one_beta, "policy": policy}
        given = {name: value for name, value in numbers.items() if value is not None}
        return function(rule=_rule(exit_name, exit_file, given, settings), **options)

    return _RULE_OPTIONS(cast(F, command))


def _data_options(required: bool) -> Callable[[F], F]:
    return together(
        click.option("--data", required=required, type=IMAGES,
                     help="Images: .npz with x (and y), .npy, a folder of images (one subfolder "
                     "per class, or without labels), tar shards (val-{000..049}.tar, or a folder "
                     "of them), .zarr, or a single image; a path, or an address such as "
                     "s3://.."),
        click.option("--limit", type=click.IntRange(min=1),
                     help="Use only the first LIMIT images."),
        MEAN_STD,
    )  # fmt: skip


@dataclass(frozen=True)
class Data:
    """The images of --data, --limit, --mean and --std; how they are read depends on a program."""

    path: str | Path
    options: dict[str, Any]

    def open(self, program: Program) -> ImageSet:
        from seenn_deploy.ir.inputs import for_program

        return for_program(program, self.path, **self.options)


def with_data(function: F) -> F:
    """Add the options of images; the command gets them as `data`."""

    @wraps(function)
    def command(data: str | Path, limit: int | None, mean: Any, std: Any, **options: Any) -> Any:
        return function(data=Data(data, {"mean": mean, "std": std, "limit": limit}), **options)

    return _data_options(True)(cast(F, command))


def with_data_if_any(function: F) -> F:
    """Add the options of images; the command gets them as `data`, None without --data."""

    @wraps(function)
    def command(
        data: str | Path | None, limit: int | None, mean: Any, std: Any, **options: Any
    ) -> Any:
        settings = {"mean": mean, "std": std, "limit": limit}
        if data is None and any(value is not None for value in settings.values()):
            raise SeennError("--limit, --mean and --std are about images: add --data")
        return function(data=None if data is None else Data(data, settings), **options)

    return _data_options(False)(cast(F, command))


# --- exit rules ----------------------------------------------------------------------------------

NUMBERS = ("alpha", "theta", "beta")  # fields of exit rules that have an option of their own


def _rule(
    name: str | None, file: Path | None, numbers: dict[str, Any], settings: dict[str, Any]
) -> ExitRule | None:
    """Return the exit rule that the options ask for, None if they ask for none."""
    from seenn_deploy import exits

    if file is not None:
        # Which of the two should win is a guess, so neither does.
        if name or numbers or settings:
            raise SeennError("--exit-file holds the whole exit rule; leave out --exit and numbers")
        return _rule_from(file)
    if name is None and settings:
        raise SeennError("--set is for a number of an exit rule; name the rule with --exit")
    if name is None and not numbers:
        return None
    name = name or _owner(next(iter(numbers)))
    for number in numbers:
        if name in exits.names() and number not in (name, exits.rule_class(name).parameter):
            raise SeennError(f"--{number} belongs to exit rule {_owner(number)}, not to {name}")
    if name == "policy":
        if not numbers:
            raise SeennError("exit rule policy needs its network: --policy FILE.onnx")
        numbers = {"onnx": numbers["policy"]}
    given = {"rule": name, **numbers, **settings}
    _check_calibrated(given)
    try:
        return exits.from_dict(given)
    except ValueError as error:
        raise SeennError(str(error)) from None


def _owner(number: str) -> str:
    """Return the exit rule that an option belongs to; --policy has the name of its rule."""
    from seenn_deploy import exits

    return next((n for n in exits.tunable() if exits.rule_class(n).parameter == number), number)


def _check_calibrated(given: dict[str, Any]) -> None:
    """Raise SeennError for a rule with fields that have no default, when they are not given."""
    from seenn_deploy import exits

    name = given["rule"]
    known = fields(exits.rule_class(name)) if name in exits.names() else ()
    if any(f.default is MISSING and f.default_factory is MISSING and f.name not in given
           for f in known):  # fmt: skip
        raise SeennError(
            f"exit rule {name} needs calibrated numbers: seenn calibrate BUILD --data SPLIT "
            f"--rule {name} -o rule.json, then --exit-file rule.json"
        )


def _rule_from(file: Path) -> ExitRule:
    from seenn_deploy import exits

    try:
        return exits.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SeennError(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise SeennError(f"{file}: not an exit rule ({error})") from None
