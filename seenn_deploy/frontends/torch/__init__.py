"""Live torch modules to spiking graphs.

``layers`` replaces each spiking layer by one opaque operator, ``tracing`` runs ``torch.export``,
``walk`` reads the exported graph with one small function per operator (``operations``), and
``assembly`` makes populations and projections of what the walk found; ``read`` is their order.
"""
