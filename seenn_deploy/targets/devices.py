"""Devices found by name, and run: targets that have a ``Device`` (targets/base.py)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy import plugins
from seenn_deploy._typing import Array, checked_types
from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.io.folders import MANIFEST
from seenn_deploy.io.images.image_set import Images, ImageSet, check_length
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program, target_names
from seenn_deploy.progress import Progress, shown
from seenn_deploy.targets.base import Device, DeviceRun, Request


@dataclass(frozen=True)
class Named:
    """What the name of a device says: ``serial:/dev/ttyACM0``.

    Parameters
    ----------
    name : str
    argument : str
        What stands behind the colon; "" for none.
    make : callable
        Its class ``Device``.
    """

    name: str
    argument: str
    make: Callable[..., Device]

    @property
    def target(self) -> str:
        """The target whose bundles it runs."""
        return str(getattr(self.make, "target", self.name))

    def open(self, bundle: Path, options: dict[str, Any]) -> Device:
        """The device with a bundle; options that are None count as not given.

        Raises
        ------
        DeviceError
            For an argument or option that the device does not have.
        """
        given = {key: value for key, value in options.items() if value is not None}
        if self.argument:
            given["argument"] = self.argument
        known = list(inspect.signature(self.make).parameters)[1:]
        # Not left to the call: its TypeError would speak of a class, and not of the device.
        for key in given:
            if key not in known:
                what = f"argument {self.argument!r}" if key == "argument" else f"option {key!r}"
                has = ", ".join(known) or "none"
                raise DeviceError(f"device {self.name} takes no {what}; its options: {has}")
        return self.make(bundle, **given)


def names() -> list[str]:
    """The devices there are, in alphabetical order."""
    own = [name for name in target_names() if _class(name)]
    return sorted([*own, *_others()])


def find(device: str) -> Named:
    """The device that is called `device`, with or without an argument behind a colon.

    Raises
    ------
    DeviceError
        When there is none of this name.
    """
    name, _, argument = device.partition(":")
    make = _class(name) if name in target_names() else None
    if make is None and name in (others := _others()):
        make = plugins.load(others[name], name.replace("-", "_")).Device
    if make is None:
        raise DeviceError(f"device {name!r} does not exist; there are: {', '.join(names())}")
    return Named(name, argument, make)


def _others() -> dict[str, str]:
    """The devices in the folder ``devices`` of a target, and that folder; hyphens in names."""
    rooms = [f"targets/{name}/devices" for name in target_names() if _has_devices(name)]
    return {name.replace("_", "-"): room for room in rooms for name in plugins.names(room)}


def _has_devices(target: str) -> bool:
    folders = plugins.folders("targets")
    return any((folder / target / "devices" / "__init__.py").is_file() for folder in folders)


def _class(name: str) -> Callable[..., Device] | None:
    """The class ``Device`` of a target; None of one that only writes."""
    module = plugins.load("targets", name)
    if hasattr(module, "__path__"):
        if not find_spec(f"{module.__name__}.device"):
            return None
        module = plugins.load("targets", name, main="device")
    return getattr(module, "Device", None)


@checked_types
def run(
    folder: str | Path,
    images: Images,
    labels: ArrayLike | None = None,
    *,
    device: str = "lava",
    record: bool = False,
    full_trace: bool = False,
    wasted: bool = False,
    timeout: float | None = None,
    progress: Progress = None,
    length: Array | None = None,
    **options: Any,
) -> DeviceRun:
    """Run a bundle on images on a device, with early exit.

    Parameters
    ----------
    folder : str or Path
        A bundle, or a program's folder with one in it.
    images : array (N, C, H, W), for event coding (N, T, C, H, W), ImageSet, or a path
        As the program takes them. A path needs the program's folder: it says how to read it.
    labels : int array (N,), optional
        Labels to use in place of those of an ImageSet.
    device : str
        The name of a target that can run what it writes; where the device takes an argument, with
        that behind a colon: ``serial:/dev/ttyACM0``.
    record, full_trace, wasted, timeout
        See :class:`~seenn_deploy.targets.base.Request`.
    progress : bool or callable, optional
        As in ``simulate``.
    length : int array (N,), optional
        Timesteps of each sample, where they differ; an ImageSet or .npz has its own.
    **options
        Options of the device; those of 'lava' are `python`, the Lava interpreter, and `command`,
        which runs the bundle somewhere else (see ``targets/lava/device.py``).

    Raises
    ------
    ProgramError
        When there is no bundle, or it was written for another program than the one beside it.
    DeviceError
        When the device is missing or does not have an option, the bundle refuses the images or was
        altered, the device fails or returns something else, or the time is up.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> program.save("build", targets=["lava"])
    >>> run = sd.run("build", files.images, device="lava")  # doctest: +SKIP
    >>> run.prediction[:3]  # doctest: +SKIP
    array([3, 8, 8])
    """
    found, folder = find(device), Path(folder)
    if isinstance(images, str | Path):
        place = folder if (folder / MANIFEST).is_file() else folder.absolute().parent
        images = for_program(Program.load(place), images, labels)
    if isinstance(images, ImageSet):
        labels = images.labels if labels is None else labels
        length = images.length if length is None else length
        images = images.take(0, len(images))
    stacked = np.asarray(images)
    if length is not None:
        length = np.asarray(length)
        # Signals (N, T, ..); of anything else no number of timesteps is known.
        check_length(length, len(stacked), stacked.shape[1] if stacked.ndim > 2 else 0)
    inner = folder / found.target
    bundle = inner if inner.is_dir() else folder
    opened = found.open(bundle, options)
    _check_made_for(opened, bundle)
    if length is not None and not getattr(opened, "takes_length", False):
        raise DeviceError(
            f"device {found.name} runs every sample of {bundle} to T, these have lengths from "
            f"{min(length)} to {max(length)}: compile with this release and take c or lava, or "
            "take samples of one length without it"
        )
    with shown(progress, f"running on {device}", len(stacked)) as advance:
        request = Request(record, full_trace, wasted, timeout, advance, length)
        ran = opened.run(stacked, request)
    return replace(ran, labels=None if labels is None else np.asarray(labels))


def _check_made_for(device: Device, bundle: Path) -> None:
    """Refuse a bundle that an earlier compile left in a program's folder."""
    kept, beside = getattr(device, "made_for", None), bundle.absolute().parent
    if kept is None or not (beside / MANIFEST).is_file():
        return  # it travelled alone, or is older than this check
    now = Program.load(beside).made_for
    for name, value in now.items():
        if kept.get(name) != value:
            raise ProgramError(
                f"{bundle}: was written for another program than {beside / MANIFEST}: "
                f"{name.replace('_', ' ')} {kept.get(name)} instead of {value}; renew it with "
                f"--target {bundle.name}"
            )
