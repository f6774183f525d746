"""The resize and crop of a program: torchvision's, kept by it, done by all that run it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.io.images.preparation import Preparation
from seenn_deploy.ir.inputs import for_program
from tests.io.test_shards import tar
from tests.targets.lava.graphs import edge, exact_weights, program

SHAPE = (3, 6, 5)


def graph() -> ir.SpikingGraph:
    rng = np.random.default_rng(0)
    nodes = [ir.Source("input", SHAPE, input_range=(0.0, 1.0)), ir.Population("spikes", (8,)),
             ir.Readout("logits", (3,))]  # fmt: skip
    edges = [
        edge("input", "spikes", ir.Dense(exact_weights(rng, (8, 90)))),
        edge("spikes", "logits", ir.Dense(exact_weights(rng, (3, 8)))),
    ]
    return ir.SpikingGraph(nodes, edges, 2)


TESTED = program(graph())


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    """Waves, so that an offset or a scale that is wrong shows."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 120 * np.sin(0.3 * (i + 1) * x + 0.2 * y) for i in range(3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(
    ("height", "width", "resized", "top", "left"),
    [(20, 31, (10, 15), 2, 5), (31, 20, (15, 10), 4, 2), (10, 10, (10, 10), 2, 2),
     (5, 9, (10, 18), 2, 6), (10, 13, (10, 13), 2, 4)],
)  # fmt: skip
def test_it_is_the_resize_and_crop_of_imagenet(height, width, resized, top, left) -> None:
    """Sizes and corners by hand; values by torch, whose antialiasing is of its own code."""
    image = picture(height, width)
    found = np.asarray(Preparation((6, 5), 10).apply(image, False, "it"))
    values = torch.from_numpy(np.array(image).transpose(2, 0, 1)[None]).float()
    whole = torch.nn.functional.interpolate(
        values, resized, mode="bilinear", antialias=True, align_corners=False
    )
    expected = whole[0, :, top : top + 6, left : left + 5].numpy().transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 1.0 + 1e-3  # Pillow rounds after either pass


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA"])
def test_other_kinds_of_images_are_converted(mode: str, tmp_path: Path) -> None:
    image = picture(6, 5, mode)
    image.save(tmp_path / "x.png" if mode != "CMYK" else tmp_path / "x.jpg")
    file = next(tmp_path.iterdir())
    with pytest.raises(DataError, match="this program takes RGB images"):
        for_program(TESTED, file).take(0, 1)
    taken = for_program(TESTED.with_preparation(), file).take(0, 1)[0]
    wanted = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(taken, wanted)


def test_a_program_keeps_it_and_everything_that_runs_it_does_it(tmp_path: Path) -> None:
    tested = sd.compile(graph(), resize=8, crop=(6, 5), precision="int8")
    assert tested.fingerprint == sd.compile(graph(), precision="int8").fingerprint
    tested.save(tmp_path / "build")
    stored = json.loads((tmp_path / "build" / "program.json").read_text())
    assert stored["preparation"] == {"crop": [6, 5], "resize": 8}
    again = sd.Program.load(tmp_path / "build")
    assert again.graph.source.preparation == Preparation((6, 5), 8)
    members = {}
    for i in range(4):
        file = io.BytesIO()
        picture(12 + 5 * i, 30 - 5 * i, "L" if i == 1 else "RGB").save(file, "PNG")
        members |= {f"{i}.png": file.getvalue(), f"{i}.cls": b"1"}
    (tmp_path / "x.tar").write_bytes(tar(members))
    pixels = np.stack([
        np.asarray(Preparation((6, 5), 8).apply(
            picture(12 + 5 * i, 30 - 5 * i, "L" if i == 1 else "RGB"), False, ""))
        for i in range(4)
    ])  # fmt: skip
    by_hand = sd.simulate(tested, pixels, np.ones(4, int))
    run = sd.simulate(again, tmp_path / "x.tar")
    np.testing.assert_array_equal(run.logits, by_hand.logits)
    assert (
        sd.evaluate(again, tmp_path / "x.tar").fixed == sd.evaluate(again, pixels, run.labels).fixed
    )
    with pytest.raises(DataError, match=r"0\.png is 12x30 .*takes 6x5: resize or crop .*--resize"):
        sd.simulate(sd.compile(graph()), tmp_path / "x.tar")
    # Arrays are resized by nobody, so a set of them serves a program with and without.
    images = for_program(TESTED, pixels)
    assert len(for_program(TESTED.with_preparation(8), images)) == 4


def test_the_command_line(tmp_path: Path) -> None:
    TESTED.save(tmp_path / "a")
    words = ["compile", str(tmp_path / "a"), "-o", str(tmp_path / "b"), "--resize", "256"]
    done = CliRunner().invoke(seenn, [*words, "--crop", "6x5"])
    assert done.exit_code == 0 and "shorter side to 256, then 6x5 of the middle" in done.output
    assert sd.Program.load(tmp_path / "b").graph.source.preparation == Preparation((6, 5), 256)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"crop": 6}, r"crop 6x6: this program takes 6x5"),
        ({"resize": 5}, r"resize 5: the shorter side must lie in 6\.\.16384"),
        ({"resize": 0}, r"resize 0: give the pixels"),
    ):
        with pytest.raises(DataError, match=message):
            sd.compile(graph(), **options)
    picture(5, 9).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png is 5x9 .*smaller than the crop 6x5: .*--resize"):
        for_program(TESTED.with_preparation(), tmp_path / "x.png").take(0, 1)
    TESTED.with_preparation(8).save(tmp_path / "a")
    manifest = tmp_path / "a" / "program.json"
    for crop in ([6, 6], [6], ["a", 5], [0, 5]):
        stored = json.loads(manifest.read_text())
        stored["preparation"]["crop"] = crop
        stored.pop("checksum", None)
        manifest.write_text(json.dumps(stored))
        with pytest.raises((ProgramError, DataError), match="crop"):
            sd.Program.load(tmp_path / "a")
