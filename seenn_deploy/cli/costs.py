"""``seenn costs``, which lists cost models."""

from __future__ import annotations

from pathlib import Path

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli.shared import write_json


@click.command("costs")
@click.argument("name", required=False)
@opt.JSON
def costs_command(name: str | None, json_file: Path | None) -> None:
    """List the cost models, or show one with its sources.

    NAME is a model of the list, or a file with one. A figure in joules means nothing without its
    model: what it prices, and what it leaves out.

    \b
    Examples:
      seenn costs
      seenn costs lemaire
      seenn costs my-chip.json --json -
    """
    from seenn_deploy import costs
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import costs as tables

    if name is not None:
        model = costs.load(name)
        console.show(*tables.model_tables(model))
        write_json(json_file, model.summary())
        return
    models = [costs.load(found) for found in costs.names()]
    console.show(*tables.models_tables(models))
    write_json(json_file, {"cost_models": [model.summary() for model in models]})
