"""NIR graphs to spiking graphs.

``neurons`` and ``linear`` define each node in discrete time, ``values`` what flows between neurons,
and ``read`` puts the graph together.
"""
