"""NIR files as plain arrays: HDF5 read with limits, and the nodes and edges that it holds."""
