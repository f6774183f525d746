"""NIR graphs to spiking graphs.

``neurons`` and ``linear`` say what each node does in discrete time, to the ``values`` that flow
between neurons; ``read`` puts the graph together.
"""
