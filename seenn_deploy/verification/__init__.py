"""Is it the same network? Device and simulator, int8 and float, imported and original."""
