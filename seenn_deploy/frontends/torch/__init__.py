"""Live torch modules to spiking graphs.

``layers`` swaps spiking layers for one opaque operator each, ``tracing`` runs ``torch.export``,
``walk`` reads the exported graph with one small function per operator (``operations``), and
``assembly`` makes populations and projections of what the walk found; ``read`` is their order.
"""
