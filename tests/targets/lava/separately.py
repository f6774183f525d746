"""Run a bundle on each sample in a network of its own: ``separately.py BUNDLE X OUT``.

For the Lava interpreter. Importing lava once makes 16 runs bearable.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np


def main(bundle: Path, x: Path, out: Path) -> None:
    sys.path.insert(0, str(bundle))
    import files
    import host
    import network

    spec, arrays = files.read_bundle(bundle)
    frames = files.read_frames(x, spec)
    length = np.full(1, spec["T"])
    found: dict[str, list[np.ndarray]] = {}
    for n in range(len(frames)):
        with tempfile.TemporaryDirectory() as folder:
            options = network.Options(Path(folder), spikes=True, v=True)
            built = network.Builder(spec, arrays, frames[n : n + 1], length, options).build()
            with host.running(spec, built) as running:
                trace = running.run()
            kept = {"exit_step": trace.exit_step, "logits": trace.logits}
            for node in spec["nodes"]:
                if node["kind"] == "population":
                    name, until = node["name"], trace.exit_step
                    kept[f"spikes/{name}"] = host.spikes(
                        built.spike_files[name], node, trace, until
                    )
                    kept[f"v/{name}"] = host.voltages(built.v_files[name], node, trace, until)
            for name, values in kept.items():
                found.setdefault(name, []).append(values)
    np.savez(out, **{name: np.concatenate(values) for name, values in found.items()})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
