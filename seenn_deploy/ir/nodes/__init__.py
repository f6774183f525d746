"""Nodes of a graph, one kind per file (:mod:`.base`)."""

from seenn_deploy.ir.nodes.base import Node
from seenn_deploy.ir.nodes.filter import Filter
from seenn_deploy.ir.nodes.maximum import Maximum
from seenn_deploy.ir.nodes.population import Population
from seenn_deploy.ir.nodes.product import Product
from seenn_deploy.ir.nodes.readout import Readout
from seenn_deploy.ir.nodes.relay import Relay
from seenn_deploy.ir.nodes.source import Source
from seenn_deploy.ir.nodes.sum import Sum

__all__ = [
    "Filter",
    "Maximum",
    "Node",
    "Population",
    "Product",
    "Readout",
    "Relay",
    "Source",
    "Sum",
]
