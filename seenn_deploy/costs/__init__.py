"""Counts in, joules out: one cited data file per cost model."""

from seenn_deploy.costs.model import load, names

__all__ = ["load", "names"]
