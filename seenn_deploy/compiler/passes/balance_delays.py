"""Extra delays on the shorter paths, so that every path has the same number of synapse stages.

On hardware every synapse process takes one step, so a path takes as many steps as it has synapse
stages. A shortcut that skips two stages and has one of its own meets the main path only if it waits
one step more (design, section 5). A projection with a lag waits that many timesteps besides; the
schedule says how many hardware steps lie between two timesteps. Feedback to an earlier layer has a
negative delay, which its lag must make up for.
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
