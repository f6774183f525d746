"""Live torch modules to spiking graphs: the parts that ``frontends/torch.py`` puts together.

``layers`` swaps spiking layers for one opaque operator each, ``tracing`` runs ``torch.export``,
``walk`` reads the exported graph with one small function an operator (``operations``), and
``assembly`` makes populations and projections of what the walk found.
"""
