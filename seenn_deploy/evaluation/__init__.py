"""Figures and thresholds from one full run: evaluate, calibrate, schedules, sweeps."""
