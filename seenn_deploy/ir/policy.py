"""The integer policy network of a program: made, fingerprinted, stored and read.

Its arithmetic is ``exits.policy_network.integer``; what belongs here is that its images are in the
units of the program's own source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load, save

from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network.integer import IntegerPolicy
from seenn_deploy.exits.policy_network.quantizing import Pixels, to_integers
from seenn_deploy.exits.policy_network.reading import read_network
from seenn_deploy.fidelity import FidelityReport, Finding
from seenn_deploy.io import folders
from seenn_deploy.io.onnx import read_onnx
from seenn_deploy.ir.bounds import source_values
from seenn_deploy.ir.nodes import Source
from seenn_deploy.ir.provenance import Provenance

FILE = "policy.safetensors"  # its arrays, in a program's folder
PLACE = "policy network"


def lowered(rule: Policy, source: Source, samples: Iterable[Array] | None = None) -> IntegerPolicy:
    """Make the integer form of an exit rule's policy network.

    Parameters
    ----------
    rule : Policy
    source : Source
        Of an integer program.
    samples : iterable of float arrays (n, C, H, W), optional
        Calibration images; without them some are made up (``policy_network.quantizing``).

    Raises
    ------
    ProgramError
        When the file is gone or another one, or something in it has no integer form.
    """
    file, limits = Path(rule.onnx), source_values(source, source.input_range)
    if limits is None:
        raise ProgramError(f"{file}: an integer policy network needs images with limits")
    pixels = Pixels(source.shape, (limits.low, limits.high), source.scale, source.offset)
    try:
        network = read_network(read_onnx(file), rule.choices)
        if folders.sha256(file) != rule.sha256:
            raise ModelError("was altered since its program was compiled")
        return to_integers(network, pixels, samples, rule.sha256)
    except (ModelError, ValueError) as error:
        text = str(error)
        if text.startswith(str(file)):
            raise ProgramError(text) from None
        raise ProgramError(f"{file}: no integer policy network of this: {text}") from None
    except OSError as error:
        raise ProgramError(f"{file}: cannot be read ({error.strerror})") from None


def equal_choices(
    policy: IntegerPolicy, rule: Policy, source: Source, samples: Iterable[Array]
) -> int:
    """Count the images (n, C, H, W) for which the float network makes the same choice."""
    equal = 0
    for images in samples:
        chosen = policy.timesteps(policy.scores(source.integers(images)))
        equal += int((chosen == rule.steps(list(images))).sum())
    return equal


def found(equal: int | None, samples: int) -> Finding:
    """What the report of an integer program says of its policy network.

    Parameters
    ----------
    equal : int, optional
        Number of calibration images for which it chooses as the float network; None without any.
    samples : int
        Number of calibration images.
    """
    how = "ranges of made-up images: calibration images would tell its choices"
    if equal is not None:
        how = f"chooses as the float network for {equal} of {samples} images"
    return Finding(PLACE, "8-bit weights", "approximated", f"values of 8 and 16 bits; {how}")


def noted(provenance: Provenance, finding: Finding | None) -> Provenance:
    """The notes of an integer program with this finding of its policy network, and no other."""
    if not provenance.precision:
        return provenance
    report = FidelityReport.from_dict(provenance.precision)
    report.findings = [f for f in report.findings if f.where != PLACE]
    report.findings += [finding] if finding else []
    return replace(provenance, precision=report.to_dict())


def check(policy: IntegerPolicy, rule: Any, source: Source) -> None:
    """Raise ProgramError unless an integer policy network is that of a rule, for these images."""
    limits = source_values(source, source.input_range)
    if getattr(rule, "sha256", None) != policy.made_of or rule.choices != policy.choices:
        raise ProgramError(f"exit rule {rule}: the integer policy network is another one's")
    if limits is None or (source.shape, (limits.low, limits.high)) != (policy.shape, policy.limits):
        raise ProgramError(
            f"the integer policy network takes images {policy.shape} with values "
            f"{policy.limits[0]}..{policy.limits[1]}, which are not this program's"
        )


def fingerprint(policy: IntegerPolicy) -> str:
    """Sixteen hexadecimal digits of a SHA-256 over everything that decides its scores."""
    described, arrays = policy.to_arrays()
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()[:16]


def write(policy: IntegerPolicy, folder: Path) -> dict[str, Any]:
    """Write the arrays into a program's folder; return what its manifest keeps."""
    described, arrays = policy.to_arrays()
    folders.write_file(folder / FILE, save(arrays))
    return described


def read(folder: Path, described: dict[str, Any]) -> IntegerPolicy:
    """Read what `write` wrote, whose checksum was compared.

    Raises
    ------
    ProgramError
        When it is damaged.
    """
    try:
        return IntegerPolicy.from_arrays(described, load((folder / FILE).read_bytes()))
    except SafetensorError as error:
        raise ProgramError(f"{folder / FILE}: {error}; compile the model again") from None
    except (KeyError, ValueError) as error:
        raise ProgramError(f"{folder / FILE}: damaged ({error}); compile the model again") from None


__all__ = [
    "FILE", "check", "equal_choices", "fingerprint", "found", "lowered", "noted", "read", "write",
]  # fmt: skip
