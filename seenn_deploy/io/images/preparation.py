"""The resize and the crop before a network, as a program declares them for encoded images.

They are those of ImageNet's evaluation in torchvision (``Resize``, then ``CenterCrop``, of images
that were converted to RGB), to the pixel: bilinear with antialiasing, in Pillow's arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seenn_deploy._typing import Pair
from seenn_deploy.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 1 << 14  # pixels of a side


@dataclass(frozen=True)
class Preparation:
    """How an image file becomes what a program takes.

    Parameters
    ----------
    crop : (int, int)
        Height and width that are cut out of the middle: those of the program.
    resize : int
        Pixels that the shorter side is brought to before; 0 leaves an image as it is.

    Raises
    ------
    DataError
        When `resize` is smaller than the crop.
    """

    crop: Pair
    resize: int = 0

    def __post_init__(self) -> None:
        if self.resize and not max(self.crop) <= self.resize <= MOST:
            raise DataError(
                f"resize {self.resize}: the shorter side must lie in {max(self.crop)}..{MOST}, so "
                f"that {self} can be cut out"
            )

    def __str__(self) -> str:
        height, width = self.crop
        before = f"shorter side to {self.resize}, then " if self.resize else ""
        return f"{before}{height}x{width} of the middle"

    def apply(self, image: Image, grey: bool, where: str) -> Image:
        """Return an image, converted, resized and cropped.

        Parameters
        ----------
        image : PIL image
        grey : bool
            Whether the program takes one channel instead of RGB.
        where : str
            Name of the image in messages.

        Raises
        ------
        DataError
            When the image is smaller than the crop.
        """
        from PIL.Image import Resampling

        image = image.convert("L" if grey else "RGB")
        if self.resize:
            short, long = min(image.size), max(image.size)
            other = int(self.resize * long / short)
            wide = image.width > image.height
            size = (other, self.resize) if wide else (self.resize, other)
            image = image if size == image.size else image.resize(size, Resampling.BILINEAR)
        height, width = self.crop
        if image.height < height or image.width < width:
            raise DataError(
                f"{where} is {image.height}x{image.width} (height x width), smaller than the crop "
                f"{height}x{width}: compile with --resize"
            )
        # Python rounds halves to the even number, and so does torchvision.
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        return image.crop((left, top, left + width, top + height))


def prepared(shape: tuple[int, ...], resize: int | None, crop: int | Pair | None) -> Preparation:
    """Return what `resize` and `crop` mean for a program that takes images of `shape`, (C, H, W).

    Raises
    ------
    DataError
        When the crop is not of the program's size, or larger than the resized image.
    """
    wanted = crop if isinstance(crop, tuple) else (crop, crop)
    height, width = shape[1:]
    if crop is not None and wanted != (height, width):
        raise DataError(
            f"crop {wanted[0]}x{wanted[1]}: this program takes {height}x{width}; give that, or "
            "leave it out"
        )
    if resize is not None and resize < 1:
        raise DataError(f"resize {resize}: give the pixels of the shorter side")
    return Preparation((height, width), resize or 0)
