"""Linear maps, one kind per file: what lies on an edge of the graph (:mod:`.base`)."""

from seenn_deploy.ir.maps.affine import Affine, batch_norm
from seenn_deploy.ir.maps.avg_pool2d import AvgPool2d
from seenn_deploy.ir.maps.base import LinearMap, Synapses
from seenn_deploy.ir.maps.conv2d import Conv2d
from seenn_deploy.ir.maps.dense import Dense
from seenn_deploy.ir.maps.identity import Identity
from seenn_deploy.ir.maps.pooled_dense import PooledDense
from seenn_deploy.ir.maps.sparse import Sparse

__all__ = [
    "Affine",
    "AvgPool2d",
    "Conv2d",
    "Dense",
    "Identity",
    "LinearMap",
    "PooledDense",
    "Sparse",
    "Synapses",
    "batch_norm",
]
