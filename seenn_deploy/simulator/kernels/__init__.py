"""Numba kernels over plain arrays, and the vector operations that they are made of."""
