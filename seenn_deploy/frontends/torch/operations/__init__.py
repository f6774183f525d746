"""One small function per operator of an exported module: what it does to signals.

Operators without a function here are refused by name. Arguments arrive as values: signals,
constants, potentials or plain numbers.
"""

from seenn_deploy.frontends.torch.operations import (
    arithmetic,
    arrangements,
    axes,
    pools,
    timesteps,
    weights,
)
from seenn_deploy.frontends.torch.operations.registry import OPERATIONS, Graph

__all__ = [
    "OPERATIONS",
    "Graph",
    "arithmetic",
    "arrangements",
    "axes",
    "pools",
    "timesteps",
    "weights",
]
