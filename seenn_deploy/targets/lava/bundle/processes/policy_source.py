"""A policy network as the source's pre-stage."""

from __future__ import annotations

from typing import Any

from processes.image_source import ImageSource


class PolicySource(ImageSource):
    """Looks at an image before its first wave and decides how many timesteps it gets.

    Parameters
    ----------
    policy : PolicyNetwork or IntegerPolicy
        Of the bundle's ``exits/policy_network``: a numpy forward pass. It runs in this process.
    images : array (N, C, H, W)
        What the policy network sees: the samples, of an IntegerPolicy as whole numbers.
    scores : str, optional
        File to which the model appends the scores of each sample, K numbers.
    **others
        As for ImageSource.
    """

    def __init__(
        self, *, policy: Any, images: Any, scores: str | None = None, **others: Any
    ) -> None:
        super().__init__(policy=policy, images=images, scores=scores, **others)
