"""Zarr arrays give what they hold, a chunk at a time, and never run what a file says."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy.errors import DataError, DataWarning
from seenn_deploy.io.images import image_set as data
from seenn_deploy.io.images import zarr_array

zarr = pytest.importorskip("zarr", reason="needs Python 3.11")
numcodecs = pytest.importorskip("numcodecs")

SHAPE = (3, 4, 5)
PIXELS = np.random.default_rng(0).integers(1, 256, (11, 4, 5, 3), np.uint8)
EXPECTED = PIXELS.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
FORMS: dict[str, dict[str, Any]] = {
    "v3": {"chunks": (4, 4, 5, 3)},
    "sharded": {"chunks": (2, 4, 5, 3), "shards": (4, 4, 5, 3)},
    "v2": {"chunks": (3, 2, 5, 3), "compressors": numcodecs.Blosc()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["{}/x.zarr", "memory://zarrs-{}/x.zarr"])
def test_it_holds_what_was_put_into_it(tmp_path: Path, form: str, where: str) -> None:
    place = where.format(tmp_path if "memory" not in where else form)
    group = zarr.open_group(place, mode="w", zarr_format=2 if form == "v2" else 3)
    group.create_array("x", shape=PIXELS.shape, dtype="u1", **FORMS[form])[:] = PIXELS
    group.create_array("y", shape=(11,), dtype="i8", chunks=(5,))[:] = np.arange(11) % 3
    images = pickle.loads(pickle.dumps(data.open_images(place, SHAPE, classes=3, limit=10)))
    np.testing.assert_array_equal(images.labels, np.arange(10) % 3)
    np.testing.assert_array_equal(np.concatenate(list(images.batches(3))), EXPECTED[:10])
    np.testing.assert_array_equal(images.part(2, 9).take(1, 6), EXPECTED[3:8])


def test_an_array_alone_has_no_labels_and_is_read_by_chunks(tmp_path: Path, monkeypatch) -> None:
    made = zarr.create_array(tmp_path / "x", shape=EXPECTED.shape, chunks=(4, *SHAPE), dtype="f4")
    made[:] = EXPECTED
    images = data.open_images(tmp_path / "x", SHAPE)
    assert images.labels is None
    read: list[tuple[int, int]] = []
    real = zarr_array.ZarrArray._read
    monkeypatch.setattr(zarr_array.ZarrArray, "_read", lambda self, start, stop: read.append(
        (start, stop)) or real(self, start, stop))  # fmt: skip
    np.testing.assert_array_equal(np.concatenate(list(images.batches(3, 1))), EXPECTED[1:])
    assert [r for r in read if r[0] != r[1]] == [(1, 4), (4, 8), (8, 11)]


class Evil:
    def __reduce__(self) -> Any:
        return (warnings.warn, ("it ran",))


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.zarr").mkdir()
    stored = {"shape": [11, *SHAPE], "chunks": [11, *SHAPE], "dtype": "|u1", "fill_value": 0,
              "order": "C", "filters": None, "compressor": {"id": "pickle", "protocol": 5},
              "zarr_format": 2}  # fmt: skip
    (tmp_path / "x.zarr" / ".zarray").write_text(json.dumps(stored))
    (tmp_path / "x.zarr" / "0.0.0.0").write_bytes(pickle.dumps(Evil()))
    with warnings.catch_warnings(), pytest.raises(DataError, match="pickle"):
        warnings.simplefilter("error")
        data.open_images(tmp_path / "x.zarr", SHAPE)
    # Zarr itself refuses these by now; what it knows besides is let in by name alone.
    zarr.create_array(tmp_path / "z.zarr", shape=(11, *SHAPE), dtype="u1")
    monkeypatch.setattr(zarr_array, "CODECS", {"bytes"})
    with pytest.raises(DataError, match=r"z\.zarr is stored by codec zstd, which is not one of"):
        data.open_images(tmp_path / "z.zarr", SHAPE)
    nested = {"codecs": [{"name": "sharding_indexed", "configuration": {
        "codecs": [{"name": "numcodecs.pickle", "configuration": {}}], "index_codecs": ["bytes"],
    }}]}  # fmt: skip
    assert list(zarr_array._codecs(nested)) == ["sharding_indexed", "numcodecs.pickle", "bytes"]


def test_damage_and_misfits_are_one_line(tmp_path: Path, monkeypatch) -> None:
    group = zarr.open_group(tmp_path / "x.zarr", mode="w")
    with pytest.raises(DataError, match=r"x\.zarr: holds no arrays; expected x"):
        data.open_images(tmp_path / "x.zarr", SHAPE)
    group.create_array("x", shape=PIXELS.shape, chunks=(4, 4, 5, 3), dtype="u1")[:] = PIXELS
    group.create_array("labels", shape=(4,), dtype="i8")
    with pytest.raises(DataError, match=r"labels has shape \(4,\) for 11 images"):
        data.open_images(tmp_path / "x.zarr", SHAPE)
    del group["labels"]
    images = data.open_images(tmp_path / "x.zarr", SHAPE)
    chunk = tmp_path / "x.zarr" / "x" / "c" / "1" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"x\.zarr: x\[4:8\]: not a readable chunk") as error:
        images.take(0, 11)
    assert "\n" not in str(error.value)
    chunk.unlink()
    with pytest.warns(DataWarning, match=r"x\.zarr: x\[4:8\] is nothing but zeros, as a chunk"):
        images.take(0, 11)
    group.create_array("rate", shape=(1,), dtype="f4")
    with pytest.raises(DataError, match=r"signals come as \.npz"):
        data.open_images(tmp_path / "x.zarr", SHAPE)
    (tmp_path / "n.zarr").mkdir()
    with pytest.raises(DataError, match=r"n\.zarr: cannot be read"):
        data.open_images(tmp_path / "n.zarr", SHAPE)
    monkeypatch.setattr(zarr_array, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'seenn-deploy\[data\]'"):
        data.open_images(tmp_path / "x.zarr", SHAPE)
