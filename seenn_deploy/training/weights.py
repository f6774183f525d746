"""Weights to start a training from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from seenn_deploy.errors import ModelError
from seenn_deploy.io.state_dict import read_state_dict


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a state_dict into a network that it has to fit.

    Raises
    ------
    ModelError
        When the file holds no state_dict, or one of another architecture.
    """
    # By the reader that imports use, which lets no pickle call a function.
    state = {k: torch.from_numpy(np.array(v)) for k, v in read_state_dict(Path(path)).items()}
    own = network.state_dict()
    # SEENN's batch norms are registered twice: either name will do. How many batches a norm has
    # seen enters no result.
    named = {tensor.data_ptr() for name, tensor in own.items() if name in state}
    for name, tensor in own.items():
        if name in state:
            found, wanted = tuple(state[name].shape), tuple(tensor.shape)
            if found != wanted:
                raise ModelError(
                    f"{path}: of another architecture: {name} has shape {found}, the network's "
                    f"has {wanted}"
                )
        elif tensor.data_ptr() not in named and not name.endswith("num_batches_tracked"):
            raise ModelError(f"{path}: of another architecture: it has no {name}")
    unknown = next((name for name in state if name not in own), None)
    if unknown is not None:
        raise ModelError(f"{path}: of another architecture: the network has no {unknown}")
    network.load_state_dict(state, strict=False)
