"""``seenn example``, which copies files to try the other commands on."""

from __future__ import annotations

from pathlib import Path

import click

from seenn_deploy.cli.options import PATH


@click.command("example")
@click.argument("folder", type=PATH)
def example_command(folder: Path) -> None:
    """Copy a trained network and 50 images into FOLDER.

    They come with the package: neither a clone nor torch is needed. Files that are in FOLDER
    already are left as they are.

    \b
    Example:
      seenn example example
      seenn compile example/resnet20_T4_cifar10.safetensors --alpha 0.9 -o build/
      seenn simulate build/ --data example/cifar10_50.npz
    """
    import seenn_deploy as sd

    files = sd.example(folder)
    click.echo(f"written to {folder}: {files.network.name}, {files.images.name}")
    click.echo(f"commands to try are in {files.readme}")
