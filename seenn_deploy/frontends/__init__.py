"""A foreign network in, one float graph and its fidelity report out: a file or folder per source.

A frontend is found by its file name and imported when a file is opened. It has

- ``SUFFIXES`` and ``read(path, **options) -> SpikingGraph``; and
- if it reads state dicts, whose suffix says nothing about the network: ``NETWORKS``, the networks
  it knows in words, ``accepts(tensors) -> bool``, and ``build(tensors, **options)``, which
  ``read`` calls.

Live torch modules come in through ``torch/read.py``, whose ``read`` takes the module and an example
of its input. What an author of a frontend needs is in ``base.py``.
"""
