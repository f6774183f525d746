"""SEENN-II: a policy network decides from the image how long the SNN runs (arXiv 2304.01230).

The network is an ONNX file that takes images (n, C, H, W) as the program does, and gives one score
per choice. The metadata that ``seenn train policy`` wrote into the file hold everything else. In a
file without them score k stands for k timesteps, so there must be T scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule

FILE = "policy.onnx"  # its name in a program's folder
Layers = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Policy(ExitRule):
    """Stop at t = k(x), the choice with the largest score, which is made before the SNN starts.

    Parameters
    ----------
    onnx : str or Path
        File of the network. Without `choices`, all other parameters are read from it.
    choices : tuple of int
        Timestep that each score stands for.
    T, classes : int
        Timesteps and classes of the program that the policy was trained for; 0 classes where the
        file does not say.
    input_shape : (C, H, W)
    layers : tuple of (weights, neurons, dense MACs)
        Sizes of the network's layers, which cost models price.
    sha256 : str
        Checksum of the file.

    Raises
    ------
    ValueError
        When the file is missing or holds no policy network, or its choices do not lie in 1..T.
    """

    known_before: ClassVar[bool] = True
    unshown: ClassVar[tuple[str, ...]] = ("onnx", "T", "classes", "input_shape", "layers", "sha256")

    onnx: str | Path = ""
    choices: tuple[int, ...] = ()
    T: int = 0
    classes: int = 0
    input_shape: tuple[int, ...] = ()
    layers: Layers = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        stored = vars(self) if len(self.choices) else _described(Path(self.onnx))
        found = {
            "choices": tuple(stored["choices"]),
            "input_shape": tuple(stored["input_shape"]),
            "layers": tuple((int(w), int(n), int(m)) for w, n, m in stored["layers"]),
            **{name: stored[name] for name in ("T", "classes", "sha256")},
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)
        if not self.choices or min(self.choices) < 1 or max(self.choices) > self.T:
            raise ValueError(f"policy choices {self.choices} must lie in 1..T = {self.T}")

    @property
    def timesteps(self) -> int | None:
        return self.T

    @property
    def dense_macs(self) -> int:
        """The multiply-accumulates of one forward pass."""
        return sum(macs for _, _, macs in self.layers)

    def steps(self, images: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        # One image at a time: a sample's score must not depend on the others in its batch.
        session = _session(str(self.onnx), self.sha256)
        name = session.get_inputs()[0].name
        try:
            scores = [session.run(None, {name: x[None].astype(np.float32)})[0][0] for x in images]
        except Exception as error:  # onnxruntime raises kinds of its own
            first = str(error).split("\n", maxsplit=1)[0]
            raise ValueError(f"{self.onnx}: does not run on the images ({first})") from None
        if any(np.shape(s) != np.shape(self.choices) for s in scores):
            raise ValueError(f"{self.onnx}: does not give {len(self.choices)} scores, one a choice")
        return np.array([self.choices[int(np.argmax(s))] for s in scores], np.int64)

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        return np.zeros(np.shape(z)[:-1])

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.full(np.shape(t), np.inf)

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"onnx": FILE}


def _described(path: Path) -> dict[str, Any]:
    """Describe a policy file by its metadata, or by what is in it, with its checksum."""
    # It needs onnx; nothing is read inside the bundle.
    from .policy_network.reading import check_equal, describe, opened

    digest = _sha256(path)
    model = opened(path)
    stored, network = describe(path, model)
    # onnxruntime comes last: it takes a file as it is, with no limits on time and memory.
    check_equal(path, model, network, _session(str(path), digest))
    return stored | {"sha256": digest}


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


@lru_cache(maxsize=8)
def _session(path: str, sha256: str) -> Any:
    """Make the network ready to run in one thread, if the file still has this checksum."""
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            f"{path}: running a policy network needs onnxruntime; pip install 'seenn-deploy[onnx]'"
        ) from None
    if _sha256(Path(path)) != sha256:
        raise ValueError(f"{path}: the policy network was altered since its program was compiled")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises kinds of its own for files it cannot take
        first = str(error).split("\n", maxsplit=1)[0]
        raise ValueError(f"{path}: not an ONNX network ({first})") from None


__all__ = ["FILE", "Policy"]
