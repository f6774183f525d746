"""What each operator of an exported module means for signals: one small function each.

Operators without a function here are refused by name. `node` arguments arrive as values: signals,
constants, potentials or plain numbers.
"""

from seenn_deploy.frontends.torch.operations import arithmetic, axes, pools, timesteps, weights
from seenn_deploy.frontends.torch.operations.registry import OPERATIONS, Graph

__all__ = ["OPERATIONS", "Graph", "arithmetic", "axes", "pools", "timesteps", "weights"]
