"""Equal numbers of synapse stages on every path, by extra delays on the shorter ones.

On hardware every synapse process takes one step. A shortcut that skips two stages meets the main
path only if it waits one step more (design, section 5). A projection with a lag waits that many
timesteps besides, which are so many steps of hardware as the schedule leaves between two timesteps;
feedback to an earlier layer has a negative delay, which the lag must make up for.
"""

from __future__ import annotations

from dataclasses import replace

from seenn_deploy.ir.graph import SpikingGraph


def apply(graph: SpikingGraph) -> SpikingGraph:
    """Set each edge's delay to the stages its ends lie apart, less its own."""
    depth = graph.depth
    return graph.replace(
        projections=[
            replace(e, delay=depth[e.post] - depth[e.pre] - graph.stages(e))
            for e in graph.projections
        ]
    )
