"""A policy network as the source's pre-stage."""

from __future__ import annotations

from typing import Any

from processes.image_source import ImageSource


class PolicySource(ImageSource):
    """Looks at an image before its first wave and decides how many timesteps it gets.

    Parameters
    ----------
    policy : PolicyNetwork
        Of the bundle's ``exits/policy_network``: a numpy forward pass. It runs in this process.
    images : float array (N, C, H, W)
        What the policy network sees: the samples, before any rounding to integers.
    **others
        As for ImageSource.
    """

    def __init__(self, *, policy: Any, images: Any, **others: Any) -> None:
        super().__init__(policy=policy, images=images, **others)
