"""Lava, Intel's framework for Loihi: programs as bundles of Lava processes, and what runs them."""
