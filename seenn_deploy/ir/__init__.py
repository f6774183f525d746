"""What all rooms pass on: the graph, its linear maps, programs and their files.

Where more than a few of its names are used, ``from seenn_deploy import ir`` and then ``ir.Conv2d``.
"""

from seenn_deploy.ir import kinds
from seenn_deploy.ir.graph import (
    Filter,
    Maximum,
    Node,
    Population,
    Product,
    Projection,
    Readout,
    Relay,
    Source,
    SpikingGraph,
    Sum,
    Target,
)
from seenn_deploy.ir.maps import (
    Affine,
    AvgPool2d,
    Conv2d,
    Dense,
    Identity,
    LinearMap,
    PooledDense,
    Sparse,
    Synapses,
    batch_norm,
)
from seenn_deploy.ir.nodes.base import Parameter
from seenn_deploy.ir.program import Program

__getattr__ = kinds.attribute  # kinds of $SEENN_PLUGINS

__all__ = [
    "Affine",
    "AvgPool2d",
    "Conv2d",
    "Dense",
    "Filter",
    "Identity",
    "LinearMap",
    "Maximum",
    "Node",
    "Parameter",
    "PooledDense",
    "Population",
    "Product",
    "Program",
    "Projection",
    "Readout",
    "Relay",
    "Source",
    "Sparse",
    "SpikingGraph",
    "Sum",
    "Synapses",
    "Target",
    "batch_norm",
]
