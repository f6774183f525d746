"""NIR files in and out: the parts that ``frontends/nir.py`` and ``targets/nir.py`` put together.

``hdf5`` and ``file`` read a file as plain arrays; ``neurons`` and ``linear`` say what each node
does in discrete time, to the ``values`` that flow between neurons. ``bias`` and ``sidecar`` are for
what NIR has no place for.
"""
