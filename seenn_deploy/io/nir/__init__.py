"""NIR files as plain arrays: the HDF5 file, and the nodes and edges that it holds."""
