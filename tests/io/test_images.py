"""Every format gives the same images; every misfit is one clear line."""

from __future__ import annotations

import io
import math
import re
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seenn_deploy import ir
from seenn_deploy.errors import DataError, DataWarning
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.io.images import image_set as data
from seenn_deploy.io.images.spec import PIXELS
from seenn_deploy.ir import inputs

SHAPE = (3, 4, 5)
N = 7
RNG = np.random.default_rng(0)
PIXEL_DATA = RNG.integers(0, 256, (N, 4, 5, 3), np.uint8)
EXPECTED = PIXEL_DATA.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
LABELS = np.arange(N) % 3


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "d.npz", **arrays)
    return path / "d.npz"


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def packed(images: list[bytes]) -> dict[str, np.ndarray]:
    sizes = [len(i) for i in images]
    return {
        "jpeg": np.frombuffer(b"".join(images), np.uint8),
        "offsets": np.concatenate(([0], np.cumsum(sizes))),
    }


def class_folder(path: Path, suffix: str = "png") -> Path:
    for i in np.argsort(LABELS, kind="stable"):
        folder = path / "images" / f"class{LABELS[i]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXEL_DATA[i]).save(folder / f"{i}.{suffix}")
    return path / "images"


def everything(images: data.ImageSet, size: int = 3) -> np.ndarray:
    return np.concatenate(list(images.batches(size)))


def refused(message: str) -> Any:
    return pytest.raises(DataError, match=message)


# --- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("compressed", [False, True])
def test_npz_float(tmp_path: Path, dtype: str, compressed: bool) -> None:
    x = EXPECTED.astype(dtype)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "d.npz", x=x, y=LABELS.astype(np.uint8))
    images = data.open_images(tmp_path / "d.npz", SHAPE)
    found = everything(images)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, x.astype(np.float32))
    assert images.labels is not None
    assert images.labels.dtype == np.int64
    np.testing.assert_array_equal(images.labels, LABELS)
    assert images.class_names is None


def test_npz_pixels(tmp_path: Path) -> None:
    images = data.open_images(npz(tmp_path, x=PIXEL_DATA), SHAPE, input_range=PIXELS)
    np.testing.assert_array_equal(everything(images), EXPECTED)
    assert images.labels is None


def test_pixels_are_normalised_where_the_program_does_not(tmp_path: Path) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    images = data.open_images(npz(tmp_path, x=PIXEL_DATA), SHAPE, mean=mean, std=std)
    column = [np.float32(v).reshape(3, 1, 1) for v in (mean, std)]
    np.testing.assert_allclose(everything(images), (EXPECTED - column[0]) / column[1], rtol=1e-6)


def test_npy_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", EXPECTED)
    images = data.open_images(tmp_path / "d.npy", SHAPE)
    assert isinstance(images.source.array, np.memmap)
    np.testing.assert_array_equal(everything(images), EXPECTED)


def test_encoded_images_in_npz(tmp_path: Path) -> None:
    path = npz(tmp_path, **packed([encoded(p) for p in PIXEL_DATA]), labels=LABELS)
    images = data.open_images(path, SHAPE, input_range=PIXELS)
    np.testing.assert_array_equal(everything(images), EXPECTED)
    np.testing.assert_array_equal(images.take(2, 5), EXPECTED[2:5])
    np.testing.assert_array_equal(images.labels, LABELS)


def test_folder_of_classes(tmp_path: Path) -> None:
    folder = class_folder(tmp_path)
    (folder / "class1" / "notes.txt").write_text("not an image")
    (folder / ".thumbnails").mkdir()
    images = data.open_images(str(folder), SHAPE, input_range=PIXELS)
    order = np.argsort(LABELS, kind="stable")
    np.testing.assert_array_equal(everything(images), EXPECTED[order])
    np.testing.assert_array_equal(images.labels, LABELS[order])
    assert images.class_names == ["class0", "class1", "class2"]


@pytest.mark.parametrize(
    ("names", "classes", "labels", "told"),
    [
        (("3", "7"), 10, {3, 7}, "2 class folders for 10 classes: 3 is class 3, 7 is class 7"),
        (("02", "10"), 12, {2, 10}, "02 is class 2, 10 is class 10"),
        (("two", "one"), 2, {0, 1}, "the order of the names: one is class 0, two is class 1"),
        (tuple(map(str, range(11))), 11, {0, 1, 2}, "the order of the names: 10 is class 2, 2 is"),
    ],
)
def test_numbers_of_class_folders_are_told(
    tmp_path: Path, names: tuple[str, ...], classes: int, labels: set[int], told: str
) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    for name in sorted(names)[:3]:
        Image.fromarray(PIXEL_DATA[0]).save(tmp_path / name / "a.png")
    with pytest.warns(DataWarning, match=told):
        images = data.open_images(tmp_path, SHAPE, classes=classes)
    assert images.labels is not None and set(images.labels.tolist()) == labels
    assert images.class_names is not None and len(images.class_names) == classes
    found = {images.class_names[i] for i in images.labels}
    assert found == set(sorted(names)[:3])


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for i, pixels in enumerate(PIXEL_DATA):
        Image.fromarray(pixels).save(tmp_path / f"{i}.PPM", "PPM")
    images = data.open_images(tmp_path, SHAPE)
    np.testing.assert_array_equal(everything(images), EXPECTED)
    assert images.labels is None


def test_jpeg_folder(tmp_path: Path) -> None:
    images = data.open_images(class_folder(tmp_path, "jpg"), SHAPE, input_range=PIXELS)
    assert everything(images).shape == (N, *SHAPE)


def test_grey_images(tmp_path: Path) -> None:
    Image.fromarray(PIXEL_DATA[0, ..., 0]).save(tmp_path / "a.png")
    images = data.open_images(tmp_path, (1, 4, 5))
    np.testing.assert_array_equal(everything(images), EXPECTED[:1, :1])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float64])
def test_events(tmp_path: Path, dtype: Any) -> None:
    frames = RNG.integers(0, 2, (N, 2, *SHAPE)).astype(dtype)
    images = data.open_images(npz(tmp_path, x=frames, y=LABELS), SHAPE, "events", 2)
    np.testing.assert_array_equal(everything(images), frames.astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 9),
    size=st.integers(1, 10),
    start=st.integers(0, 9),
    limit=st.none() | st.integers(1, 12),
)
def test_batches_cover_every_image_once(
    tmp_path_factory: pytest.TempPathFactory, n: int, size: int, start: int, limit: int | None
) -> None:
    x = np.arange(n * 6, dtype=np.float32).reshape(n, 1, 2, 3)
    path = npz(tmp_path_factory.mktemp("d"), x=x, y=np.arange(n))
    kept = x[:limit]
    for images in (
        data.open_images(path, (1, 2, 3), limit=limit),
        data.from_array(x, np.arange(n), shape=(1, 2, 3), limit=limit),
    ):
        assert len(images) == len(kept)
        np.testing.assert_array_equal(images.labels, np.arange(len(kept)))
        for _ in range(2):  # each call begins anew
            found = list(images.batches(size, start))
            assert all(len(b) == size for b in found[:-1])
            np.testing.assert_array_equal(np.concatenate([x[:0], *found]), kept[start:])
        np.testing.assert_array_equal(images.take(start, start + size), kept[start : start + size])


def test_a_part_is_a_set_of_its_own() -> None:
    x = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2)
    images = data.from_array(x, [0, 1, 2, 0, 1, 2], shape=(1, 2, 2), limit=5)
    part = images.part(2, 9)
    assert len(part) == 3 and part.labels is not None and part.labels.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(part.take(1, 3), x[3:5])
    assert part.source.where(0) == images.source.where(2)


def test_batches_are_the_callers_to_write() -> None:
    x = EXPECTED.copy()
    for batch in data.from_array(x, shape=SHAPE).batches(4):
        batch[:] = -1
    np.testing.assert_array_equal(x, EXPECTED)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_large_npz_is_never_in_memory(tmp_path: Path, compressed: bool) -> None:
    x = np.zeros((2000, 3, 32, 32), np.float32)
    x[:, 0, 0, 0] = np.arange(2000)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "d.npz", x=x)
    total = x.nbytes
    del x
    tracemalloc.start()
    images = data.open_images(tmp_path / "d.npz", (3, 32, 32))
    seen = [batch[:, 0, 0, 0].copy() for batch in images.batches(50)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(2000))
    assert peak < total / 8


def test_encoded_images_are_decoded_block_by_block(tmp_path: Path) -> None:
    one = encoded(np.zeros((64, 64, 3), np.uint8))
    path = npz(tmp_path, **packed([one] * 400))
    tracemalloc.start()
    count = sum(len(b) for b in data.open_images(path, (3, 64, 64)).batches(10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 400
    assert peak < 400 * 64 * 64 * 3 / 2


# --- for a program -------------------------------------------------------------------------------


def small_program(input_range: tuple[float, float] = PIXELS) -> ir.Program:
    nodes = [ir.Source("input", SHAPE), ir.Population("p", (4,)), ir.Readout("out", (3,))]
    edges = [
        ir.Projection("input", "p", (ir.Dense(np.ones((4, 60), np.float32)),)),
        ir.Projection("p", "out", (ir.Dense(np.ones((3, 4), np.float32)),)),
    ]
    return ir.Program(ir.SpikingGraph(nodes, edges, T=2), Fixed(), input_range=input_range)


def test_for_program_takes_paths_arrays_and_sets(tmp_path: Path) -> None:
    program, path = small_program(), npz(tmp_path, x=PIXEL_DATA, y=LABELS)
    opened = inputs.for_program(program, path)
    for images in (
        opened,
        inputs.for_program(program, str(path), limit=5),
        inputs.for_program(program, EXPECTED, LABELS),
        inputs.for_program(program, opened, limit=4),
        inputs.for_program(program, inputs.for_program(program, path, limit=5), limit=4),
        inputs.for_program(program, opened, LABELS[::-1]),
    ):
        np.testing.assert_array_equal(everything(images), EXPECTED[: len(images)])
        assert images.labels is not None
        assert len(images.labels) == len(images)


def test_for_program_refuses_labels_that_it_has_no_class_for() -> None:
    with refused(r"labels\[2\] is 3; this program has 0\.\.2"):
        inputs.for_program(small_program(), EXPECTED, [0, 1, 3, 0, 0, 0, 0])


def test_for_program_refuses_a_set_of_another_program() -> None:
    images = data.from_array(EXPECTED, shape=SHAPE)
    with refused("images: opened for another program .*open it again"):
        inputs.for_program(small_program(), images)


def test_for_program_refuses_a_set_that_was_normalised_otherwise() -> None:
    program, std = small_program((-math.inf, math.inf)), (0.5, 0.5, 0.5)
    images = inputs.for_program(program, PIXEL_DATA, mean=(0.1, 0.2, 0.3), std=std)
    again = inputs.for_program(program, images, mean=(0.1, 0.2, 0.3), std=std)
    np.testing.assert_array_equal(everything(again), everything(images))
    with refused("images: opened for another program"):
        inputs.for_program(program, images, mean=(0.1, 0.2, 0.4), std=std)


# --- values --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    i=st.integers(0, N - 1),
    value=st.floats(-1e6, -1e-3) | st.floats(1.001, 1e6),
    size=st.integers(1, N),
)
def test_the_first_value_out_of_range_is_named(i: int, value: float, size: int) -> None:
    x = EXPECTED.copy()
    x[i:, 1, 2, 3] = value
    images = data.from_array(x, shape=SHAPE, input_range=PIXELS)
    shown = re.escape(f"{float(np.float32(value)):g}")
    with refused(rf"^images\[{i}\] holds {shown}; this program takes pixels 0\.\.1 because "):
        everything(images, size)


def test_values_out_of_range_in_a_file(tmp_path: Path) -> None:
    x = EXPECTED.copy()
    x[3, 0, 0, 0] = -2.11
    path = npz(tmp_path, x=x)
    images = data.open_images(path, SHAPE, input_range=PIXELS)
    with refused(
        rf"^{path}: x\[3\] holds -2\.11; this program takes pixels 0\.\.1 because normalisation is "
        r"part of it: give raw pixels \(0\.\.255 divided by 255\), or compile with --no-normalize$"
    ):
        everything(images)
    with refused(r"x\[3\] holds -2\.11"):
        images.take(3, 4)
    np.testing.assert_array_equal(images.take(4, 7), x[4:])


@given(off=st.floats(1e-7, 1e-6, exclude_max=True), low=st.booleans(), size=st.integers(1, N))
def test_what_rounding_carried_out_of_the_range_is_clipped_and_told(
    off: float, low: bool, size: int
) -> None:
    x = EXPECTED.copy()
    x[2:4, 1, 2, 3] = -off if low else np.nextafter(np.float32(1), 2)
    images = data.from_array(x, shape=SHAPE, input_range=PIXELS)
    with pytest.warns(DataWarning, match=r"\[2\] holds .*: values within 1e-06 of 0\.\.1") as told:
        found = everything(images, size)
    assert len(told) == 1
    np.testing.assert_array_equal(found, np.clip(x, 0, 1))
    x[5, 0, 0, 0] = 1.00001
    with warnings.catch_warnings(), refused(r"images\[5\] holds 1\.00001"):
        warnings.simplefilter("ignore")
        everything(images, size)


def test_values_out_of_another_range() -> None:
    images = data.from_array(EXPECTED * 3, shape=SHAPE, input_range=(-1.0, 2.0))
    with refused(r"images\[0\] holds [\d.]+; this program takes values -1\.\.2: scale the input"):
        everything(images)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("input_range", [PIXELS, data.ANY_VALUE])
def test_values_that_are_not_finite(value: float, input_range: Any) -> None:
    x = EXPECTED.astype(np.float64)
    x[5, 2, 3, 4] = value
    images = data.from_array(x, shape=SHAPE, input_range=input_range)
    with refused(r"images\[5\] holds -?(nan|inf); values must be finite"):
        everything(images)


# --- shape and dtype -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (EXPECTED[:, :2], r"float32 of shape \(7, 2, 4, 5\); this program takes \(N, 3, 4, 5\)"),
        (EXPECTED[0], r"shape \(3, 4, 5\).*add a first axis, x\[None\]"),
        (np.float32(1), r"shape \(\)"),
        (EXPECTED.transpose(0, 2, 3, 1), r"channels first, x\.transpose\(0, 3, 1, 2\)"),
        (EXPECTED[:, None], r"one image per sample"),
        (PIXEL_DATA.transpose(0, 3, 1, 2), r"channels last, x\.transpose\(0, 2, 3, 1\)"),
        (PIXEL_DATA[..., :1], r"uint8 of shape \(7, 4, 5, 1\); this program takes \(N, 4, 5, 3\)"),
        (PIXEL_DATA[0], r"add a first axis"),
        (EXPECTED[:0], "no images in it; give at least one"),
        (PIXEL_DATA[:0], "no images in it"),
        (PIXEL_DATA.astype(int), r"int64; give float32 \(N, 3, 4, 5\) or uint8 pixels \(N, H, W"),
        (EXPECTED > 0.5, "bool; give float32"),
        (EXPECTED * 1j, "complex64; give float32"),
        (EXPECTED.astype(str), "<U.*; give float32"),
        (np.array([None, "a"]), "object; give float32"),
    ],
)
def test_images_that_do_not_fit(tmp_path: Path, x: np.ndarray, message: str) -> None:
    with refused("^images.*" + message):
        data.from_array(x, shape=SHAPE)
    if x.dtype.hasobject:
        return
    with refused(f"d.npz: x .*{message}|d.npz: x: {message}"):
        data.open_images(npz(tmp_path, x=x), SHAPE)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 3, *SHAPE)), r"takes \(N, 2, 3, 4, 5\): bin the events into 2 frames.*T = 3"),
        (EXPECTED, r"give one frame per timestep"),
        (np.zeros((2, 2, *SHAPE), complex), r"complex128; give float32 \(N, 2, 3, 4, 5\) or integ"),
    ],
)
def test_events_that_do_not_fit(x: np.ndarray, message: str) -> None:
    with refused(message):
        data.from_array(x, shape=SHAPE, coding="events", T=2)


def test_ragged_arrays() -> None:
    with refused("images: not an array .*one shape"):
        data.from_array([EXPECTED[0], EXPECTED[0, :1]], shape=SHAPE)


def test_a_program_without_images() -> None:
    with refused(r"this program takes shape \(10,\); images are \(C, H, W\)"):
        data.from_array(EXPECTED, shape=(10,))


# --- normalisation, labels, limits ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0] * 3}, "mean and std belong together"),
        ({"mean": [0] * 3, "std": [1] * 3, "input_range": PIXELS}, "normalisation is part of this"),
        ({"mean": [0] * 3, "std": [1] * 3, "coding": "events"}, "events are not normalised"),
        ({"mean": [0] * 2, "std": [1] * 3}, r"mean is \[0.0, 0.0\]; this program needs 3 finite"),
        ({"mean": [0] * 3, "std": [np.nan] * 3}, "std is .*needs 3 finite numbers"),
        ({"mean": [0] * 3, "std": [1, 1, 0]}, "std is .*; each must be above 0"),
    ],
)
def test_normalisation_that_does_not_fit(options: dict[str, Any], message: str) -> None:
    with refused(message):
        data.from_array(PIXEL_DATA, shape=SHAPE, **options)


def test_normalisation_is_for_pixels_only() -> None:
    with refused("images is float32, taken as the network sees it, but mean/std are given"):
        data.from_array(EXPECTED, shape=SHAPE, mean=[0] * 3, std=[1] * 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:-1], r"labels has shape \(6,\) for 7 images; give one label per image"),
        (LABELS[:, None], r"labels has shape \(7, 1\) for 7 images"),
        (LABELS.astype(float), "labels is float64; give integers"),
        (LABELS == 1, "labels is bool; give integers"),
        (LABELS - 1, r"labels\[0\] is -1; count classes from 0"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    with refused(message):
        data.from_array(EXPECTED, labels, shape=SHAPE)
    with refused(r"d\.npz: " + message.replace("labels", "y", 1)):
        data.open_images(npz(tmp_path, x=EXPECTED, y=labels), SHAPE)


def test_labels_above_the_classes() -> None:
    with refused(r"labels\[2\] is 2; this program has 0\.\.1"):
        data.from_array(EXPECTED, LABELS, shape=SHAPE, classes=2)


def test_a_single_label(tmp_path: Path) -> None:
    with refused("y is a single value"):
        data.open_images(npz(tmp_path, x=EXPECTED, y=3), SHAPE)


def test_two_sets_of_labels(tmp_path: Path) -> None:
    with refused("holds both y and labels; keep one"):
        data.open_images(npz(tmp_path, x=EXPECTED, y=LABELS, labels=LABELS), SHAPE)


def test_event_recordings_are_not_taken_for_images(tmp_path: Path) -> None:
    events = {"x": LABELS, "y": LABELS, "p": LABELS, "t_us": LABELS, "labels": LABELS}
    with refused(r"d\.npz: x is int64; give float32"):
        data.open_images(npz(tmp_path, **events), SHAPE)


def test_limit_and_batch_size() -> None:
    with refused("limit 0; it must be at least 1"):
        data.from_array(EXPECTED, shape=SHAPE, limit=0)
    with refused("batch size 0; it must be at least 1"):
        data.from_array(EXPECTED, shape=SHAPE).batches(0)


# --- files ---------------------------------------------------------------------------------------


def test_paths_that_are_no_images(tmp_path: Path) -> None:
    with refused(r"none\.npz: no such file or folder"):
        data.open_images(tmp_path / "none.npz", SHAPE)
    (tmp_path / "a.csv").write_text("1,2")
    with refused(r"a\.csv: images come as \.npz, \.npy, \.tar, \.zarr or a folder, not as \.csv"):
        data.open_images(tmp_path / "a.csv", SHAPE)
    with refused("not as a file without suffix"):
        (tmp_path / "a").touch()
        data.open_images(tmp_path / "a", SHAPE)


@pytest.mark.parametrize("content", [b"", b"PK not a zip", b"\x93NUMPY\x01"])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_damaged_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"d.{suffix}"
    path.write_bytes(content)
    with refused(rf"d\.{suffix}: not a readable \.{suffix} file"):
        data.open_images(path, SHAPE)


def test_npz_with_other_arrays(tmp_path: Path) -> None:
    with refused(r"holds images, y; expected x \(and y\), or jpeg, offsets \(and labels\)"):
        data.open_images(npz(tmp_path, images=EXPECTED, y=LABELS), SHAPE)


def test_npz_of_python_objects_is_never_unpickled(tmp_path: Path) -> None:
    for suffix, save in (("npz", lambda p, x: np.savez(p, x=x)), ("npy", np.save)):
        save(tmp_path / f"d.{suffix}", np.array([{}, None], dtype=object))
        with refused("Python objects|not a readable .npy file"):
            data.open_images(tmp_path / f"d.{suffix}", SHAPE)


def test_npz_in_fortran_order(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.asfortranarray(EXPECTED))
    with refused(r"x is stored in Fortran order.*np\.ascontiguousarray"):
        data.open_images(path, SHAPE)


def test_npz_with_a_broken_array(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, EXPECTED)
    path = tmp_path / "d.npz"
    for content, message in (
        (file.getvalue()[:-8], r"d\.npz: x is cut short \(shape \(7, 3, 4, 5\)"),
        (b"nonsense", r"d\.npz: not a readable \.npz file"),
        (b"\x93NUMPY\x09\x00" + bytes(99), r"array format 9\.0 is unknown"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
        with refused(message):
            data.open_images(path, SHAPE)


def test_npz_with_flipped_bytes(tmp_path: Path) -> None:
    path = npz(tmp_path, x=EXPECTED)
    raw = bytearray(path.read_bytes())
    raw[800:804] = b"\0\0\0\0"
    path.write_bytes(raw)
    with refused(r"d\.npz: not a readable \.npz file \(Bad CRC-32"):
        everything(data.open_images(path, SHAPE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jpeg": np.zeros(9, np.int8)}, r"jpeg is int8 of shape \(9,\); expected uint8 \(B,\)"),
        ({"offsets": np.zeros(3)}, r"offsets is float64 of shape \(3,\); expected integers"),
        ({"offsets": np.array([0, 5, 5])}, r"offsets\[2\] is not above the one before"),
        ({"offsets": np.array([0, 5, 10**6])}, r"offsets run from 0 to 1000000, jpeg has \d+ byte"),
        ({"offsets": np.array([0])}, "no images in it"),
        ({"labels": np.zeros(4, int)}, r"labels has shape \(4,\) for 2 images"),
    ],
)
def test_packed_images_that_do_not_fit(tmp_path: Path, change: Any, message: str) -> None:
    path = npz(tmp_path, **packed([encoded(p) for p in PIXEL_DATA[:2]]) | change)
    with refused(message):
        data.open_images(path, SHAPE)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (encoded(PIXEL_DATA[0, :3]), r"is 3x5 \(height x width\), this program takes 4x5: resize"),
        (encoded(PIXEL_DATA[0, ..., 0]), "is grey, this program takes RGB images: convert it"),
        (encoded(np.zeros((4, 5, 4), np.uint8)), "is RGB with transparency, this program takes"),
        (encoded(np.zeros((4, 5), np.uint16)), "is I;16, this program takes RGB"),
        (encoded(PIXEL_DATA[0])[:60], "not a readable image .*replace or remove it"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a readable image"),
    ],
)
def test_image_files_that_do_not_fit(tmp_path: Path, bad: bytes, message: str) -> None:
    path = npz(tmp_path, **packed([encoded(PIXEL_DATA[0]), bad]))
    with refused(r"d\.npz: jpeg\[1\]:? " + message):
        everything(data.open_images(path, SHAPE))
    folder = class_folder(tmp_path)
    (folder / "class1" / "4.png").write_bytes(bad)
    with refused(r"class1/4\.png:? " + message):
        everything(data.open_images(folder, SHAPE))


def test_colour_images_for_a_grey_program(tmp_path: Path) -> None:
    with refused("is RGB, this program takes grey images"):
        everything(data.open_images(class_folder(tmp_path), (1, 4, 5)))


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    folder = class_folder(tmp_path)
    with refused("holds images, this program takes events: give .npz with x of shape .N, 2, 3, 4"):
        data.open_images(folder, SHAPE, "events", 2)
    with refused(r"holds images \(1 or 3 channels\), this program takes 2 channels"):
        data.open_images(folder, (2, 4, 5))
    (folder / "loose.png").touch()
    with refused(r"has class folders and loose images \(loose\.png\)"):
        data.open_images(folder, SHAPE)
    (folder / "loose.png").unlink()
    (folder / "class9").mkdir()
    with refused("class9: a class folder without images"):
        data.open_images(folder, SHAPE)
    with refused(
        r"images: 4 class folders \(class0, class1, class2, class9\), this program has 12 classes: "
        "add an empty folder .*; or name folders by class number, 00 to 11"
    ):
        data.open_images(folder, SHAPE, classes=12)
    images = data.open_images(folder, SHAPE, classes=4)  # class9 is there, and empty
    assert images.class_names is not None and images.class_names[-1] == "class9"
    (tmp_path / "empty").mkdir()
    with refused("empty: no images in it"):
        data.open_images(tmp_path / "empty", SHAPE)


def test_one_value_per_channel_needs_no_height_and_width() -> None:
    x = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    (flat,) = data.from_array(x, shape=(5, 1, 1)).batches(3)
    assert np.array_equal(flat, x.reshape(3, 5, 1, 1))
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    (scaled,) = data.from_array(pixels, shape=(3, 1, 1)).batches(2)
    assert np.array_equal(scaled, (pixels / np.float32(255)).reshape(2, 3, 1, 1))
    steps = x.reshape(1, 3, 5)
    (frames,) = data.from_array(steps, shape=(5, 1, 1), coding="events", T=3).batches(1)
    assert np.array_equal(frames, steps.reshape(1, 3, 5, 1, 1))
    (rows,) = data.from_array(x.reshape(1, 5, 3), shape=(5, 1, 3)).batches(1)
    assert np.array_equal(rows, x.reshape(1, 5, 1, 3))
    with refused(r"this program takes \(N, 1, 3, 5\)"):
        data.from_array(np.zeros((1, 5, 3), np.uint8), shape=(5, 1, 3))
    with refused(r"this program takes \(N, 5, 1, 1\)"):
        data.from_array(x[:, :4], shape=(5, 1, 1))
