"""SEENN's networks by their names: fresh weights, a width, a number of classes."""

from __future__ import annotations

from typing import Any

from torch import nn

from seenn_deploy.errors import ModelError
from seenn_deploy.training.models.resnet import ResNet, resnets
from seenn_deploy.training.models.signals import SIGNALS, SignalNet
from seenn_deploy.training.models.spikformer import Spikformer
from seenn_deploy.training.models.vgg import VGG, VGGSNN, VGGSNNwoAP

_RESNETS = tuple(resnets())


def names() -> list[str]:
    """List the architectures that `build` knows."""
    return sorted([*_RESNETS, *SIGNALS, "spikformer", "vgg16", "vggsnn", "vggsnn-woap"])


def build(
    name: str,
    classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    T: int = 4,
    input_size: int = 32,
    **neuron: Any,
) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    name : str
        One of `names`.
    classes, in_channels : int
    width : float
        Factor on the channels of the published network. SEENN's ``width_mult`` is 8 `width` for
        ResNets and 4 `width` for VGG. A Spikformer's 384 channels become whole heads of 32; mlp and
        rnn have 128 neurons a layer.
    T : int
        Timesteps for which an image is shown.
    input_size : int
        Height and width; the classifier of VGGSNN depends on it.
    **neuron
        Parameters tau, v_threshold, surrogate and gamma of
        :class:`~seenn_deploy.training.models.neurons.LIF`.

    Raises
    ------
    ModelError
        For a name that does not exist, or sizes below 1.
    """
    if name not in names():
        raise ModelError(f"model {name!r} does not exist; there are {', '.join(names())}")
    for what, value in (("classes", classes), ("in_channels", in_channels), ("T", T)):
        if value < 1:
            raise ModelError(f"{what} = {value}; it must be at least 1")
    if width <= 0:
        raise ModelError(f"width = {width}; it must be above 0")
    if name in _RESNETS:
        return ResNet.named(name, classes, in_channels, width, T, **neuron)
    if name in SIGNALS:
        return SignalNet.named(name, classes, in_channels, width, T, **neuron)
    if name == "spikformer":
        return Spikformer.named(classes, in_channels, width, T, **neuron)
    if name == "vgg16":
        return VGG(classes, in_channels, width, T, **neuron)
    family = VGGSNN if name == "vggsnn" else VGGSNNwoAP
    return family(classes, in_channels, width, T, input_size, **neuron)
