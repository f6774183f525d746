"""The mean and standard deviation per channel that images of a data set are normalised with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Normalization: TypeAlias = tuple[Sequence[float], Sequence[float]]

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))  # SEENN data_loaders.py
CIFAR100 = (  # SEENN SNN_conversion_QCFS/Preprocess/getdataloader.py, of 255
    (129.3 / 255, 124.1 / 255, 112.4 / 255),
    (68.2 / 255, 65.4 / 255, 70.4 / 255),
)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # the same file


def default_normalization(classes: int) -> Normalization:
    """Return the normalisation that SEENN's conversion code trains colour images with.

    The number of classes decides: 1000 means ImageNet's, 100 CIFAR-100's, any other CIFAR-10's.
    """
    return {100: CIFAR100, 1000: IMAGENET}.get(classes, CIFAR10)
