"""The choice of the frontend that reads a source, and the check that it knows the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seenn_deploy import plugins
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import Proof
from seenn_deploy.io.state_dict import Tensors, read_state_dict
from seenn_deploy.ir.graph import SpikingGraph

if TYPE_CHECKING:
    from torch import Tensor, nn


_HELPERS = ("base", "convert", "import_model", "proof", "signals", "spikformer")


def import_model(
    source: str | Path | nn.Module,
    example_input: Tensor | None = None,
    *,
    strict: bool = False,
    allow: Sequence[str] = (),
    **options: Any,
) -> SpikingGraph:
    """Read a trained network.

    Parameters
    ----------
    source : str, Path or torch module
        One of these: ``.pth``, ``.pt`` or ``.safetensors``, a state_dict that SEENN's scripts for
        training or conversion saved; ``.onnx``, an ANN whose thresholds are in the file (Clip) or
        come from calibration images (Relu); ``.nir``, a graph of the Neuromorphic Intermediate
        Representation; a live torch module with spiking layers of SEENN, SpikingJelly, snnTorch or
        Norse.
    example_input : Tensor, optional
        An input of the live module; only live modules need one.
    strict : bool
        Whether to refuse a network that can only be approximated.
    allow : names
        Layers that `strict` lets be approximated, or the source's name for all of them.
    **options
        ``check=False`` leaves out the proof: by default the graph is compared with what can run
        the source, a live module itself, our own torch model of a checkpoint, or onnxruntime. The
        others are facts that the source does not contain; see the frontend, e.g.
        :func:`seenn_deploy.frontends.seenn.build` or
        :func:`seenn_deploy.frontends.torch.read.read`.

    Raises
    ------
    ModelError
        When the file is missing, unsafe, damaged, or of a network that is not known, or when its
        frontend does not know an option.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> graph = sd.import_model(files.network, T=4)
    >>> graph.T, graph.provenance.source
    (4, 'resnet20_T4_cifar10.safetensors')
    >>> graph.provenance.assumed["tau"]
    0.5
    """
    if isinstance(source, str | Path):
        if example_input is not None:
            raise ModelError(f"{source}: example_input is for live modules, a file needs none")
        graph = read_file(Path(source), options)[0]
    else:
        graph = _from_module(source, example_input, options)
    graph.provenance.check(strict, allow)
    return graph


def _from_module(module: Any, example_input: Any, options: dict[str, Any]) -> SpikingGraph:
    name = type(module).__name__
    if not hasattr(module, "state_dict"):
        raise ModelError(f"{name}: neither a path nor a torch module")
    read = plugins.load("frontends", "torch", main="read").read
    _check_options(read, name, options, 2)
    if example_input is None:
        raise ModelError(f"{name}: a live module needs example_input, a tensor that it takes")
    graph: SpikingGraph = read(module, example_input, **options)
    return graph


def read_file(path: Path, options: dict[str, Any]) -> tuple[SpikingGraph, Any]:
    """The graph of a file, and the frontend that read it; errors as of `import_model`."""
    if not path.is_file():
        what = "is a folder; name the file in it" if path.is_dir() else "no such file"
        raise ModelError(f"{path}: {what}")
    modules = _frontends()
    fitting = [m for m in modules if path.suffix.lower() in m.SUFFIXES]
    if not fitting:
        known = ", ".join(sorted({s for m in modules for s in m.SUFFIXES}))
        raise ModelError(
            f"{path}: no frontend reads {path.suffix or 'a file without suffix'} ({known})"
        )
    if hasattr(fitting[0], "accepts"):
        return _from_state_dict(path, fitting, options)
    (module,) = fitting
    return _call(module.read, path, path, options), module


def _frontends() -> list[Any]:
    names = plugins.names("frontends", without=_HELPERS)
    return [plugins.load("frontends", name, main="read") for name in names]


def has_option(source: Any, option: str) -> bool:
    """Tell whether the one frontend that reads a file's suffix has an option of this name."""
    if not isinstance(source, str | Path):
        return False
    fitting = [m for m in _frontends() if Path(source).suffix.lower() in m.SUFFIXES]
    return len(fitting) == 1 and option in signature(fitting[0].read).parameters


def _from_state_dict(
    path: Path, modules: list[Any], options: dict[str, Any]
) -> tuple[SpikingGraph, Any]:
    """Read a state_dict with the first frontend that knows its tensor names."""
    tensors = Tensors(path, read_state_dict(path))
    module = next((m for m in modules if m.accepts(tensors)), None)
    if module is None:
        raise tensors.unknown(" or ".join(m.NETWORKS for m in modules))
    return _call(module.build, tensors, path, options), module


def _call(
    function: Callable[..., SpikingGraph], given: Any, path: Path, options: dict[str, Any]
) -> SpikingGraph:
    if "check" not in signature(function).parameters:  # nothing to leave out
        options = {name: value for name, value in options.items() if name != "check"}
    _check_options(function, str(path), options, 1)
    graph = function(given, **options)
    if graph.provenance.proof:
        return graph
    proof = Proof(why=f"there is nothing here that runs {path.suffix} files as they are")
    return graph.noted(replace(graph.provenance, proof=proof.to_dict()))


def _check_options(
    function: Callable[..., SpikingGraph], name: str, options: dict[str, Any], given: int
) -> None:
    """Refuse options that `function` has no parameter for, after its first `given` ones."""
    known = list(signature(function).parameters)[given:]
    unknown = [option for option in options if option not in known]
    if unknown:
        frontend = function.__module__.split(".")[2]
        raise ModelError(
            f"{name}: option {unknown[0]!r} means nothing for this network (frontend {frontend}; "
            f"it knows {', '.join(known)})"
        )
