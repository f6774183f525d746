"""State dicts read without running anything they contain, and taken apart tensor by tensor."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError

MOST_REPEATED = 1 << 24  # values of a view that repeats what it holds


def read_state_dict(path: Path) -> dict[str, Array]:
    """Read all tensors of a checkpoint, as numpy arrays by name.

    Raises
    ------
    ModelError
        When the file is not a state_dict, or is a pickle that holds anything but tensors.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    return _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, Array]:
    name, arrays = "", dict[str, Array]()
    try:
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dict
                arrays[name] = file.get_tensor(name)
    except (SafetensorError, OSError, KeyError) as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from None
    except (TypeError, AttributeError) as error:  # bfloat16 and float8, which numpy does not have
        kind = re.findall(r"'(\w+)'", str(error))[-1]
        raise ModelError(f"{path}: {name!r} is {kind}; save the tensors as float32") from None
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":  # bfloat16 again, where ml_dtypes is installed
            raise ModelError(f"{path}: {name!r} is {array.dtype}; save the tensors as float32")
    return _without_prefix(arrays)


def _read_torch(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError:
        raise ModelError(
            f"{path}: reading a torch checkpoint needs torch; pip install 'seenn-deploy[torch]', "
            "or save the state_dict as .safetensors"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said once, by the error
            # weights_only: a pickle may name any function to call, and torch refuses it here.
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, all of them mean: not a plain state_dict
        raise ModelError(f"{path}: {_why_refused(str(error))}") from None
    _check_archive(path)
    return {k: _as_array(path, k, v) for k, v in _unwrap(path, stored).items()}


def _check_archive(path: Path) -> None:
    """Refuse a checkpoint whose bytes are not those that were written; torch does not look."""
    if zipfile.is_zipfile(path):  # files of torch before 1.6 have no checksums
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except Exception:  # names that are no text, and many kinds more
            damaged = "its list of contents"
        if damaged is not None:
            raise ModelError(
                f"{path}: {damaged} differs from its checksum, the file is damaged; copy it anew"
            )


def _as_array(path: Path, name: str, tensor: Any) -> Array:
    """A tensor as an array of floats or integers; another kind of number is not one of weights."""
    import torch

    kind = str(tensor.dtype).removeprefix("torch.")
    special = tensor.is_meta or tensor.is_quantized or tensor.is_nested
    plain = tensor.layout == torch.strided and not special
    if not plain or tensor.is_complex() or kind.startswith("float8"):
        what = "on the meta device, without values" if tensor.is_meta else kind
        what = what if tensor.layout == torch.strided else f"sparse ({tensor.layout})"
        what = "a nested tensor" if tensor.is_nested else what
        raise ModelError(f"{path}: {name!r} is {what}; save dense tensors of float32")
    # A view that repeats its values can claim any shape, whatever the file's size.
    if tensor.numel() > max(tensor.untyped_storage().nbytes(), MOST_REPEATED):
        raise ModelError(
            f"{path}: {name!r} has shape {tuple(tensor.shape)}, of which the file holds a part "
            "that repeats; save it with .contiguous()"
        )
    values = tensor.detach().float() if tensor.is_floating_point() else tensor
    return np.asarray(values.resolve_neg().numpy())


def _why_refused(message: str) -> str:
    if "GLOBAL " in message:
        name = message.split("GLOBAL ")[1].split(maxsplit=1)[0]
        return (
            f"refused, the pickle asks for {name} and would run code; "
            "save model.state_dict() alone and use that file"
        )
    return "not a torch checkpoint; give the file that torch.save(model.state_dict()) wrote"


def _unwrap(path: Path, stored: Any) -> dict[str, Any]:
    """Look through ``{'state_dict': ...}`` and the ``module.`` prefix of DataParallel."""
    import torch

    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
    if not isinstance(stored, dict) or not stored:
        raise ModelError(f"{path}: holds a {type(stored).__name__}, not a state_dict of tensors")
    odd = [k for k, v in stored.items() if not (isinstance(k, str) and isinstance(v, torch.Tensor))]
    if odd:
        raise ModelError(f"{path}: entry {odd[0]!r} is no named tensor; give a plain state_dict")
    return _without_prefix(stored)


def _without_prefix(stored: dict[str, Any]) -> dict[str, Any]:
    if all(k.startswith("module.") for k in stored):
        return {k.removeprefix("module."): v for k, v in stored.items()}
    return stored


class Tensors:
    """A state_dict that remembers which of its tensors were taken.

    A tensor left over at the end means that the network was not understood, see
    :meth:`check_all_used`.

    Parameters
    ----------
    path : Path
        The file, named in error messages.
    arrays : dict of arrays
    """

    def __init__(self, path: Path, arrays: dict[str, Array]) -> None:
        self.path = path
        self.arrays = arrays
        self._used: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def take(self, key: str, shape: tuple[int | None, ...]) -> Array:
        """Return the tensor `key` after checking it; None in `shape` fits any size.

        Raises
        ------
        ModelError
            When the tensor is missing, has another shape, or holds NaN or infinity.
        """
        if key not in self.arrays:
            raise ModelError(f"{self.path}: tensor {key!r} is missing; is the checkpoint complete?")
        value = self.arrays[key]
        fits = len(value.shape) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise ModelError(f"{self.path}: {key!r} has shape {value.shape}, expected {wanted}")
        if not value.size:
            raise ModelError(f"{self.path}: {key!r} has shape {value.shape}, it holds no value")
        if not np.all(np.isfinite(value)):
            bad = int(value.size - np.count_nonzero(np.isfinite(value)))
            raise ModelError(
                f"{self.path}: {key!r} holds {bad} NaN or infinite values of {value.size}"
            )
        self._used.add(key)
        return value

    def ignore(self, key: str) -> None:
        """Accept a tensor that has no influence on the network, whether it is there or not."""
        self._used.add(key)

    def ignore_copy(self, copy: str, original: str) -> None:
        """Accept the tensors under `copy` as repetitions of those under `original`.

        Raises
        ------
        ModelError
            When one of them differs, so that the file contradicts itself.
        """
        for key in [k for k in self.arrays if k.startswith(copy + ".")]:
            twin = original + key.removeprefix(copy)
            if twin not in self.arrays or not _equal(self.arrays[key], self.arrays[twin]):
                raise ModelError(
                    f"{self.path}: {key!r} and {twin!r} should be the same tensor, but differ"
                )
            self._used.add(key)

    def check_all_used(self, family: str) -> None:
        """Raise ModelError with the names of the tensors that no layer took."""
        left = [k for k in self.arrays if k not in self._used]
        if left:
            raise ModelError(
                f"{self.path}: looks like {family}, but {len(left)} tensors do not fit it: "
                + _some(left)
            )

    def unknown(self, families: str) -> ModelError:
        """Return the error for a state_dict that belongs to no known family of networks."""
        return ModelError(
            f"{self.path}: unknown network, none of its {len(self.arrays)} tensors fits "
            f"{families}: {_some(list(self.arrays))}"
        )


def _equal(a: Array, b: Array) -> bool:
    """Compare two arrays; NaN equals NaN here, because `Tensors.take` refuses it anyway."""
    return np.array_equal(a, b, equal_nan=bool(np.issubdtype(a.dtype, np.floating)))


def _some(keys: list[str], most: int = 5) -> str:
    return ", ".join(keys[:most]) + (f", .. ({len(keys) - most} more)" if len(keys) > most else "")
