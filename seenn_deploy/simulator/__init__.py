"""Event-driven simulation: kernels over plain arrays, a time loop, and what it measured."""
