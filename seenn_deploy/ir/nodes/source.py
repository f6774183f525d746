"""The source, through which the input enters the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.io.images.normalization import Normalization
from seenn_deploy.io.images.preparation import Preparation, prepared
from seenn_deploy.io.images.spec import ANY_VALUE, Range
from seenn_deploy.ir.nodes.base import Node


@dataclass(frozen=True, eq=False)
class Source(Node):
    """Where the input enters.

    ``direct``: one analog image, an input current that is the same at every timestep (direct
    coding). ``events``: a frame per timestep, of shape (T, C, H, W) per sample.

    Parameters
    ----------
    scale, offset : float
        Of integer programs alone: the network sees ``rint(scale * (x - offset))``, taken in
        float64, as int32.
    step_us : float
        Microseconds per timestep of event recordings; 0 cuts each one into T equal parts.
    counts_events : bool
        Whether a value of event recordings is the number of events in a timestep; otherwise it is
        1 where there was any.
    input_range : (float, float)
        Smallest and largest input value: 0..1 where the normalisation is part of the network.
    real_range : (float, float), optional
        Before compilation: smallest and largest value where some are not whole numbers, of the
        example that the network was imported with, or as stated.
    normalization : (mean, std), optional
        Normalisation per channel, if it is part of the network; a policy network needs it too.
    preparation : Preparation, optional
        How image files are resized and cropped before.

    Raises
    ------
    DataError
        When `preparation` crops to another size than that of the source.
    """

    graded: ClassVar[bool] = True
    spikes: ClassVar[bool] = False

    name: str
    shape: Shape
    coding: Literal["direct", "events"] = "direct"
    scale: float = 1.0
    offset: float = 0.0
    step_us: float = 0.0
    counts_events: bool = False
    input_range: Range = ANY_VALUE
    real_range: Range | None = None
    normalization: Normalization | None = None
    preparation: Preparation | None = None

    def __post_init__(self) -> None:
        if self.preparation is not None:
            prepared(self.shape, None, self.preparation.crop)

    def integers(self, images: Array) -> Array:
        """Return float images (..., *shape) as an integer program's numbers, int32."""
        centred = images.astype(np.float64) - self.offset
        return np.asarray(np.rint(centred * self.scale).astype(np.int32))

    @property
    def analog(self) -> bool:
        return self.coding == "direct"

    @property
    def neurons(self) -> int:
        return 0
