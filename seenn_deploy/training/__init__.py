"""Training in torch: SEENN-I by temporal efficient training, SEENN-II by a policy network.

Nothing is imported here: torch is needed by the modules, not by ``seenn --help``.
"""
