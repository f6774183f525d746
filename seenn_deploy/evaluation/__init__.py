"""One full run in, figures and thresholds out: evaluate, calibrate, schedules, sweeps."""
