"""Training in torch: SEENN-I by temporal efficient training, SEENN-II by a policy network.

================================== =================================================================
train_snn, train_policy            a spiking network; a policy network for a program
train_joint                        both together, after each was trained alone
train_ann                          an ANN with QCFS activations, for ``sd.convert``
Architecture, AnnArchitecture      what is trained
Recipe                             how: epochs, batch size, learning rate, device, ..
tet_loss                           the loss of SEENN-I, for a training loop of one's own
================================== =================================================================

The names are imported when they are first used: they need torch, which ``seenn --help`` does not.

Examples
--------
>>> import seenn_deploy as sd
>>> files = sd.example()
>>> network = sd.training.Architecture("resnet8", width=0.25, T=2)
>>> recipe = sd.training.Recipe(epochs=1, batch_size=25)
>>> log = sd.training.train_snn(files.images, "run", network, recipe)
>>> sd.import_model("run/model.pth", T=2).T
2
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seenn_deploy.errors import SeennError

if TYPE_CHECKING:
    from seenn_deploy.training.loop import Recipe
    from seenn_deploy.training.qcfs import AnnArchitecture, train_ann
    from seenn_deploy.training.tasks import Architecture, train_joint, train_policy, train_snn
    from seenn_deploy.training.tet import tet_loss

_NAMES = {
    "AnnArchitecture": "qcfs",
    "Architecture": "tasks",
    "Recipe": "loop",
    "tet_loss": "tet",
    "train_ann": "qcfs",
    "train_joint": "tasks",
    "train_policy": "tasks",
    "train_snn": "tasks",
}

__all__ = [
    "AnnArchitecture",
    "Architecture",
    "Recipe",
    "tet_loss",
    "train_ann",
    "train_joint",
    "train_policy",
    "train_snn",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_NAMES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise SeennError("training needs torch: pip install 'seenn-deploy[torch]'") from None
    return getattr(module, name)
