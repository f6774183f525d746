"""SEENN's networks in torch, to train what the compiler takes (arXiv 2304.01230, table 6).

Every model maps an image batch (N, C, H, W), or frames (N, T, C, H, W), to the logits of each
timestep, (N, T, M). State dicts of ResNet, VGG and VGGSNN have the names of SEENN's own modules,
so they can be exchanged with SEENN's code, and ``seenn-compile`` takes them as they are.
"""

from seenn_deploy.training.models.named import build, names
from seenn_deploy.training.models.resnet import ResNet
from seenn_deploy.training.models.vgg import VGG, VGGSNN, VGGSNNwoAP

__all__ = ["VGG", "VGGSNN", "ResNet", "VGGSNNwoAP", "build", "names"]
