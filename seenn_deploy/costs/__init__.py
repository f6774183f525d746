"""Cost models turn operation counts into joules; each is one data file with cited prices.

Examples
--------
>>> import seenn_deploy as sd
>>> "paper" in sd.costs.names()
True
>>> sd.costs.load("paper").prices["ac"]  # picojoules
0.9
"""

from seenn_deploy.costs.model import COUNTS, CostModel, LayerSizes
from seenn_deploy.costs.reading import load, names

__all__ = ["COUNTS", "CostModel", "LayerSizes", "load", "names"]
