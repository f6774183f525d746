"""Cost models turn operation counts into joules; each is one data file with cited prices."""

from seenn_deploy.costs.model import COUNTS, CostModel, LayerSizes
from seenn_deploy.costs.reading import load, names

__all__ = ["COUNTS", "CostModel", "LayerSizes", "load", "names"]
