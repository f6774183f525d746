"""The command line. Each command reads its arguments, calls one function and prints a table.

Heavy imports happen inside the commands, so that ``seenn --help`` answers at once.
"""

from __future__ import annotations

import sys
import warnings

import click

from seenn_deploy import __version__
from seenn_deploy.cli.checking import check_command
from seenn_deploy.cli.choosing import calibrate_command, sweep_command
from seenn_deploy.cli.comparing import compare_command
from seenn_deploy.cli.compiling import compile_command, convert_command, inspect_command
from seenn_deploy.cli.costs import costs_command
from seenn_deploy.cli.devices import run_command, setup_lava_command, verify_command
from seenn_deploy.cli.example import example_command
from seenn_deploy.cli.mapping import map_command
from seenn_deploy.cli.measuring import evaluate_command, simulate_command
from seenn_deploy.cli.reporting import report_command
from seenn_deploy.cli.training import train
from seenn_deploy.errors import DataWarning, SeennError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="seenn")
def seenn() -> None:
    """Compile, simulate and deploy early-exit spiking networks (SEENN).

    A trained network is looked through (check) and becomes a program (compile, convert); a program
    is looked at (inspect), placed on a chip (map), costed on images (simulate, evaluate), given its
    exit rule (sweep, calibrate), held against others (compare), and run on a device (setup-lava,
    run, verify); report makes a page of what a run found, costs lists the prices. To begin without
    a network: seenn example FOLDER.

    \b
    Examples:
      seenn check model.pth
      seenn compile model.pth --target lava -o build/
      seenn inspect build/
      seenn simulate build/ --data images.npz
      seenn sweep build/ --data images.npz --keep-accuracy 0.5 --out sweep/
      seenn verify build/ --device lava --data images.npz --limit 2
    """


for _command in (
    check_command, compile_command, convert_command, inspect_command, simulate_command,
    map_command, sweep_command, evaluate_command, calibrate_command, compare_command,
    report_command, setup_lava_command, run_command, verify_command, train, example_command,
    costs_command,
):  # fmt: skip
    seenn.add_command(_command)


def main() -> None:
    """The ``seenn`` command."""
    _run(seenn)


def compile_main() -> None:
    """The ``seenn-compile`` command, which is ``seenn compile``."""
    _run(compile_command)


def _run(command: click.Command) -> None:
    """Run a command; an error that a user can act on is one line, with exit code 2."""
    warnings.formatwarning = _formatted
    try:
        # Click's own handling would print usage in several lines, and end with codes of its own.
        code = command.main(standalone_mode=False)
    except SeennError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "seenn"
        _fail(f"{error.format_message()} (see {where} --help)")
    except click.Abort:
        _fail("interrupted", 130)
    # A command returns nothing; `--help` returns click's code.
    sys.exit(code if isinstance(code, int) else 0)


_as_python_does = warnings.formatwarning


def _formatted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    line: str | None = None,
) -> str:  # fmt: skip
    """Return a warning about the data as one line, and any other as Python shows it."""
    if issubclass(category, DataWarning):
        return f"note: {message}\n"
    return _as_python_does(message, category, filename, lineno, line)


def _fail(message: str, code: int = 2) -> None:
    click.echo("error: " + " ".join(message.split("\n")), err=True)
    sys.exit(code)
