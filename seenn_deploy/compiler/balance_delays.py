"""Equal numbers of synapse stages on every path, by extra delays on the shorter ones.

On hardware every synapse process takes one step. A shortcut that skips two stages meets the main
path only if it waits one step more (design, section 5).
"""

from __future__ import annotations

from dataclasses import replace

from seenn_deploy.graph import SpikingGraph


def apply(graph: SpikingGraph) -> SpikingGraph:
    """Set each edge's delay to the stages its ends lie apart, less its own."""
    depth = graph.depth
    return graph.replace(
        projections=[replace(e, delay=depth[e.post] - depth[e.pre] - 1) for e in graph.projections]
    )
