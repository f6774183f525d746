"""A program on the cores of a chip, as SANA-FE simulates it; see :mod:`.write`."""
