"""Images where they lie: tar shards and addresses give what a local array gives, or one line."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from seenn_deploy.errors import DataError, UnreachableError
from seenn_deploy.io.images import image_set as data
from seenn_deploy.io.images import remote, shards

SHAPE = (3, 4, 5)
PIXEL_DATA = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)
EXPECTED = PIXEL_DATA.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
LABELS = np.arange(7) % 3


def png(i: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXEL_DATA[i]).save(file, "PNG")
    return file.getvalue()


def tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def members(numbers: Any, kind: str = "cls", folder: str = "train/") -> dict[str, bytes]:
    found = {}
    for i in numbers:
        label = int(LABELS[i])
        found[f"{folder}{i:03}.PNG"] = png(i)
        found[f"{folder}{i:03}.txt"] = b"what it shows"
        if kind:
            text = f"0{label}\n" if kind == "cls" else json.dumps({"label": label, "id": i})
            found[f"{folder}{i:03}.{kind}"] = text.encode()
    return found


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """Three shards, in a folder and at an address, in every way to name them."""
    memory = fsspec.filesystem("memory")
    memory.mkdirs("/bucket/val", exist_ok=True)
    for k, part in enumerate(((0, 1, 2), (3,), (4, 5, 6))):
        content = tar(members(part, "cls" if k else "json"))
        (tmp_path / f"val-00{k}.tar").write_bytes(content)
        memory.pipe(f"/bucket/val/val-00{k}.tar", content)
    where = [str(tmp_path), "memory://bucket/val"]
    return [f"{w}{end}" for w in where for end in ("", "/val-{000..002}.tar", "/val-*.tar")]


def test_shards_hold_what_was_put_into_them(places: list[str]) -> None:
    for where in places:
        images = pickle.loads(pickle.dumps(data.open_images(where, SHAPE, classes=3)))
        np.testing.assert_array_equal(images.labels, LABELS)
        np.testing.assert_array_equal(np.concatenate(list(images.batches(2))), EXPECTED)
        np.testing.assert_array_equal(images.part(2, 5).take(1, 3), EXPECTED[3:5])
        assert images.source.where(3).endswith("val-001.tar: train/003.PNG")
    assert len(data.open_images(places[0], SHAPE, limit=4).labels) == 4  # type: ignore[arg-type]


def test_the_formats_are_the_same_at_an_address(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    x = PIXEL_DATA
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x, y=LABELS)
    memory.mkdirs("/there/classes", exist_ok=True)
    for name in ("x.npy", "x.npz"):
        memory.pipe(f"/there/{name}", (tmp_path / name).read_bytes())
    order = np.argsort(LABELS, kind="stable")
    for i in order:
        memory.pipe(f"/there/classes/c{LABELS[i]}/{i}.png", png(i))
    for name, rows in (("x.npy", slice(None)), ("x.npz", slice(None)), ("classes", order)):
        images = data.open_images(f"memory://there/{name}", SHAPE)
        np.testing.assert_array_equal(np.concatenate(list(images.batches(3))), EXPECTED[rows])
        if name != "x.npy":
            np.testing.assert_array_equal(images.labels, LABELS[rows])
    one = data.open_images(f"file://{tmp_path}/x.npy", SHAPE)
    np.testing.assert_array_equal(one.take(6, 7), EXPECTED[6:])
    chained = remote.Remote("simplecache::memory://there/classes")
    assert sorted(str(x) for x in chained.iterdir())[0] == f"{chained}/c0"
    assert str(remote.Remote("zip://a/b.npy::memory://x.zip").parent) == "zip://a::memory://x.zip"


WHOLE = tar(members(range(3)))
HEADER = WHOLE.index(b"train/001.PNG")
DAMAGED = {
    "cut between two members": (WHOLE[:HEADER], r"000\.cls \(no end mark"),
    "cut in a member": (WHOLE[: HEADER + 600], r"damaged behind train/001\.PNG"),
    "a header": (WHOLE[:HEADER] + b"\xff" * 512 + WHOLE[HEADER + 512 :], r"000\.cls \(no end mark"),
    "no tar": (b"PK" + bytes(2000), r"damaged behind its beginning"),
    "compressed": (b"\x1f\x8b" + WHOLE[2:], r"damaged behind its beginning"),
    "two": (WHOLE + WHOLE, r"more follows the end mark"),
    "nothing": (tar({"a/readme.txt": b"x"}), r"no images in it"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_shard_is_one_line(tmp_path: Path, name: str) -> None:
    content, message = DAMAGED[name]
    (tmp_path / "val.tar").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.open_images(tmp_path / "val.tar", SHAPE)
    assert str(error.value).startswith(f"{tmp_path}/val.tar: ") and "\n" not in str(error.value)


MISFITS: dict[str, tuple[dict[str, bytes], str]] = {
    "no image": ({"a.jpg": png(0), "a.cls": b"1", "b.cls": b"1"}, r"b\.cls has no image"),
    "apart": ({"a.png": png(0), "b.png": png(1), "a.cls": b"1"}, r"a\.cls has no image"),
    "no class": (members((0,)) | members((1,), ""), r"001\.PNG has no \.cls or \.json"),
    "a class": (members((0,), "") | members((1,)), r"001\.PNG has a class, others have none"),
    "key": ({"a.png": png(0), "a.json": b'{"name": 1}'}, r"a\.json has no key label or cls"),
    "json": ({"a.png": png(0), "a.json": b"{"}, r"a\.json holds b'\{', no JSON"),
    "text": ({"a.png": png(0), "a.cls": b"cat"}, r"a\.cls holds b'cat', no class as a number"),
    "minus": ({"a.png": png(0), "a.cls": b"-1"}, r"a\.cls says class -1"),
    "share": ({"a.png": png(0), "a.json": b'{"cls": 1.5}'}, r"a\.json says class 1\.5"),
    "both": ({"a.png": png(0), "a.cls": b"1", "a.json": b'{"cls": 2}'}, r"a\.cls says class 1, a"),
    "two": ({"a.png": png(0), "a.jpg": png(0)}, r"a\.png and a\.jpg are one sample"),
    "beyond": ({"a.png": png(0), "a.cls": b"3"}, r"a\.png is of class 3; this program has 0\.\.2"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_names_shard_and_member(tmp_path: Path, name: str) -> None:
    content, message = MISFITS[name]
    (tmp_path / "val.tar").write_bytes(tar(content))
    with pytest.raises(DataError, match=message) as error:
        data.open_images(tmp_path / "val.tar", SHAPE, classes=3)
    assert str(error.value).startswith(f"{tmp_path}/val.tar: ") and "\n" not in str(error.value)


def test_a_shard_that_changes_behind_its_index(tmp_path: Path) -> None:
    where = tmp_path / "val.tar"
    where.write_bytes(WHOLE)
    images = data.open_images(where, SHAPE)
    where.write_bytes(WHOLE[:HEADER].ljust(len(WHOLE), b"\0"))
    with pytest.raises(DataError, match=r"val\.tar: train/001\.PNG: not a readable image"):
        list(images.batches(2))
    where.write_bytes(WHOLE[:HEADER])
    with pytest.raises(DataError, match=r"val\.tar: train/001\.PNG: the shard ends early"):
        list(images.batches(2))
    where.unlink()
    with pytest.raises(UnreachableError, match=r"val\.tar: cannot be read \(no such file\)"):
        list(images.batches(2))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("{}/val-{{000..002}}.tar", r"val-001\.tar: no such shard"),
        ("{}/no-*.tar", r"no-\*\.tar: no shard of such a name"),
        ("{}/val-{{3..1}}.tar", r"\{3\.\.1\} is no range of shards"),
        ("{}/none.tar", r"none\.tar: no such file or folder"),
        ("memory://nothing/there.npz", r"memory://nothing/there\.npz: no such file or folder"),
        ("nonsense://x/y.npz", r"nonsense://x/y\.npz: cannot be read \(.*nonsense"),
    ],
)
def test_what_is_not_there(tmp_path: Path, where: str, message: str) -> None:
    (tmp_path / "val-000.tar").write_bytes(WHOLE)
    with pytest.raises(DataError, match=message):
        data.open_images(where.format(tmp_path), SHAPE)


def test_without_fsspec_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'seenn-deploy\[data\]'"):
        data.open_images("s3://bucket/val.tar", SHAPE)


def test_an_index_keeps_no_headers(tmp_path: Path) -> None:
    (tmp_path / "val.tar").write_bytes(WHOLE)
    source = shards.TarShards("val", [tmp_path / "val.tar"], SHAPE)
    assert len(pickle.dumps(source)) < 1000
