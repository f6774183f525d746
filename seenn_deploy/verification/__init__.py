"""Comparisons that prove two networks equal: device and simulator, int8 and float."""
