"""Cost models turn operation counts into joules; each is one data file with cited prices.

Examples
--------
>>> import seenn_deploy as sd
>>> "paper" in sd.costs.names()
True
>>> sd.costs.load("paper").prices["ac"]  # picojoules
0.9
"""

from seenn_deploy.costs.model import COUNTS, Cost, CostModel, LayerSizes, Priced
from seenn_deploy.costs.reading import load, names, of

__all__ = ["COUNTS", "Cost", "CostModel", "LayerSizes", "Priced", "load", "names", "of"]
