"""Devices that run C folders besides this machine: one file each, found by its name."""
