"""Compiler, simulator and deployment tool for early-exit spiking networks (SEENN)."""
