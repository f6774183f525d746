"""Counts in, joules out: one cited data file per cost model."""

from seenn_deploy.costs.model import COUNTS, CostModel, LayerSizes
from seenn_deploy.costs.reading import load, names

__all__ = ["COUNTS", "CostModel", "LayerSizes", "load", "names"]
