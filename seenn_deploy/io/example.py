"""A trained network and images that come with the package, to try every command without a clone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seenn_deploy.errors import SeennError
from seenn_deploy.io.folders import check_writable, write_file

PACKAGED = Path(__file__).with_name("examples")


@dataclass(frozen=True)
class Example:
    """Paths of the example's files.

    Parameters
    ----------
    network : Path
        SEENN's ResNet-20 for CIFAR-10 at T = 4, as safetensors, so that torch is not needed.
    images : Path
        50 labelled test images, uint8 (50, 32, 32, 3).
    readme : Path
        Where both come from, and commands to try.
    """

    network: Path
    images: Path
    readme: Path


def example(folder: str | Path | None = None) -> Example:
    """The example that comes with the package, copied into a folder if one is named.

    Parameters
    ----------
    folder : str or Path, optional
        Where the files go; it is made if it is missing, and other files in it are left alone.
        By default nothing is copied, and the paths lead into the installed package.

    Returns
    -------
    Example

    Raises
    ------
    SeennError
        When `folder` holds another file under one of the names, or cannot be written to.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9))
    >>> sd.simulate(program, files.images).summary()["accuracy"]
    0.8
    """
    place = PACKAGED if folder is None else Path(folder)
    files = Example(
        network=place / "resnet20_T4_cifar10.safetensors",
        images=place / "cifar10_50.npz",
        readme=place / "README.md",
    )
    if folder is not None:
        _copy([files.network, files.images, files.readme])
    return files


def _copy(files: list[Path]) -> None:
    contents = {file: (PACKAGED / file.name).read_bytes() for file in files}
    for file, content in contents.items():
        check_writable(file)
        if file.exists() and not (file.is_file() and file.read_bytes() == content):
            raise SeennError(f"{file}: is something else than the example; name another folder")
    for file, content in contents.items():
        write_file(file, content)
