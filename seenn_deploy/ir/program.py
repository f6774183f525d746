"""A program: a compiled graph with its exit rule, schedule, precision and provenance.

On disk a program is a folder: ``program.json`` (structure, rule, provenance, checksum) and
``weights.safetensors`` (arrays). A target may add its bundle as a subfolder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from seenn_deploy import exits, plugins
from seenn_deploy._typing import Array, Pair, Shape, checked_types
from seenn_deploy.errors import DataError, ProgramError, SeennError
from seenn_deploy.exits.integer import IntegerRule, lower
from seenn_deploy.exits.policy import FILE as POLICY
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network.integer import IntegerPolicy
from seenn_deploy.fidelity import FidelityReport, Finding, RefusedError, RefusedExportError, report
from seenn_deploy.io import folders
from seenn_deploy.io.images.preparation import prepared
from seenn_deploy.ir import html, schedule, schema
from seenn_deploy.ir import policy as integer_policy
from seenn_deploy.ir.graph import Projection, SpikingGraph
from seenn_deploy.ir.provenance import Provenance
from seenn_deploy.ir.schedule import SCHEDULES, STAGED, Schedule, Timing
from seenn_deploy.ir.serialize import (
    arrays_of,
    edge_from_dict,
    edge_to_dict,
    input_to_dict,
    node_from_dict,
    node_to_dict,
    own_to_dict,
    with_input,
    with_own,
)

VERSION = 1
WEIGHTS = "weights.safetensors"
FILES = (WEIGHTS, POLICY, integer_policy.FILE)
FOLDER = folders.Kind("a program", folders.MANIFEST, folders.FORMAT, FILES)


@dataclass(frozen=True, eq=False)
class Program:
    """What a simulator or a device runs.

    Parameters
    ----------
    graph : SpikingGraph
        Compiled graph, with one synapse map per edge.
    exit_rule : ExitRule
    schedule : 'sequential', 'pipelined', 'speculative', 'gated' or 'staged'
        How timesteps and samples follow each other (design, section 5).
    precision : 'float32' or 'int8'
    input_range : (float, float)
        Smallest and largest input value; by default those of the graph's source, which otherwise
        takes these.
    logit_scale : float
        Value of one unit of the integer logits, in an integer program.
    exit_rule_assumed : str
        Reason for this exit rule, where nobody chose one; '' where somebody did.
    policy : IntegerPolicy, optional
        The integer form of the exit rule's policy network, in an integer program. One of an earlier
        release has none, and asks the float network.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> program.T, program.depth, program.precision
    (4, 14, 'float32')
    >>> program.with_exit(sd.exits.Fixed()).save("build", targets=["lava"])
    """

    graph: SpikingGraph
    exit_rule: exits.ExitRule
    schedule: Schedule = "sequential"
    precision: str = "float32"
    input_range: tuple[float, float] = None  # type: ignore[assignment]  # the source's
    logit_scale: float = 1.0
    exit_rule_assumed: str = ""
    policy: IntegerPolicy | None = None

    def __post_init__(self) -> None:
        self._agree_on_the_input()
        _check_rule(self)
        schedule.check(self.schedule, self.exit_rule)
        if self.precision != "float32":
            self.integer_rule()
        if self.policy is not None:
            integer_policy.check(self.policy, self.exit_rule, self.graph.source)

    def _agree_on_the_input(self) -> None:
        source = self.graph.source
        if self.input_range is None:
            object.__setattr__(self, "input_range", source.input_range)
        elif self.input_range != source.input_range:
            told = replace(source, input_range=self.input_range)
            object.__setattr__(self, "graph", self.graph.replace([told, *self.graph.layers]))

    @property
    def provenance(self) -> Provenance:
        """Where the network came from, what was assumed, and what the compiler noted."""
        return self.graph.provenance

    def __repr__(self) -> str:
        how = f"T={self.T}, {self.precision}, {self.exit_rule}, {self.schedule}"
        return f"Program({self.graph.text}, {how})"

    def _repr_html_(self) -> str:
        rows = [(n.name, type(n).__name__, "x".join(map(str, n.shape))) for n in self.graph.layers]
        return html.table(repr(self), ("layer", "kind", "shape"), rows)

    @property
    def T(self) -> int:
        """The largest number of timesteps."""
        return self.graph.T

    @property
    def depth(self) -> int:
        """The number D of synapse stages from the source to the logits."""
        return self.graph.depth[self.graph.readout.name]

    @property
    def timing(self) -> Timing:
        """How timesteps follow each other: schedule, depth, and whether their number is known."""
        rule = self.exit_rule
        return Timing(self.schedule, self.depth, rule.known_before, rule.known_after_first)

    @property
    def followed_schedule(self) -> str:
        """The schedule as it runs: with timesteps known before the start nothing is speculative."""
        return self.timing.followed

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of a SHA-256 over weights, structure, T and precision.

        It depends on what decides the logits and on nothing else: neither on the exit rule nor on
        schedule or provenance.
        """
        arrays: dict[str, Array] = {}
        # A change of this list changes every fingerprint, and with it calibrated rules and run
        # folders.
        structure = [
            self.T,
            self.precision,
            [node_to_dict(n, arrays) for n in self.graph.order],
            [edge_to_dict(e, i, arrays) for i, e in enumerate(self.graph.projections)],
        ]
        # Sorted, because a dict's order is no property of a program.
        digest = hashlib.sha256(json.dumps(structure, sort_keys=True).encode())
        for name in sorted(arrays):
            array = arrays[name]
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()[:16]

    @property
    def made_for(self) -> dict[str, Any]:
        """What a bundle keeps of its program, so that a device can tell it from another one's."""
        rule = {k: v for k, v in self.exit_rule.to_dict().items() if k != "onnx"}  # that is a path
        made = {"program": self.fingerprint, "exit_rule": rule, "schedule": self.schedule}
        return made | self.made_with

    @property
    def made_with(self) -> dict[str, str]:
        """The fingerprint of the integer policy network, as ``policy``; empty without one."""
        return {} if self.policy is None else {"policy": integer_policy.fingerprint(self.policy)}

    def integer_rule(self) -> IntegerRule:
        """Return the exit rule in the arithmetic of an integer program.

        Raises
        ------
        ProgramError
            When the rule has no integer form.
        """
        try:
            return lower(self.exit_rule, self.logit_scale, self.T)
        except ValueError as error:
            raise ProgramError(str(error)) from None

    def policy_scores(self, images: Sequence[Array]) -> Array | None:
        """Return what the integer policy network says of n float images (C, H, W).

        Returns
        -------
        int64 array (n, K), a score per choice; None without such a network
        """
        if self.policy is None:
            return None
        return self.policy.scores(self.graph.source.integers(np.stack(images)))

    @checked_types
    def with_exit(self, rule: exits.ExitRule) -> Program:
        """Return the same program with another exit rule.

        An integer program makes a policy network one of integers, without calibration images.

        Raises
        ------
        ProgramError
            When the rule was calibrated for another program, or a policy network has no integer
            form.
        """
        program = replace(self, exit_rule=rule, exit_rule_assumed="", policy=None)
        if self.precision == "float32":
            return program
        if not isinstance(rule, Policy):
            return program._noting(None)
        if self.policy is not None and self.policy.made_of == rule.sha256:
            return replace(program, policy=self.policy)
        made = integer_policy.lowered(rule, self.graph.source)
        return replace(program._noting(integer_policy.found(None, 0)), policy=made)

    def _noting(self, finding: Finding | None) -> Program:
        """Return the same program, whose report says this of its integer policy network."""
        notes = integer_policy.noted(self.provenance, finding)
        return replace(self, graph=self.graph.noted(notes))

    def with_schedule(self, schedule: Schedule) -> Program:
        """Return the same program with another schedule."""
        return replace(self, schedule=schedule)

    def with_preparation(
        self, resize: int | None = None, crop: int | Pair | None = None
    ) -> Program:
        """Return the same program with a resize and a crop of image files before it.

        Parameters
        ----------
        resize : int, optional
            Pixels that the shorter side is brought to, bilinear with antialiasing.
        crop : int or (int, int), optional
            What is cut out of the middle: the program's own height and width, the default.

        Raises
        ------
        DataError
            When the crop is not of the program's size, or larger than the resized image.
        """
        return replace(self, graph=prepared_for(self.graph, resize, crop))

    def for_targets(self, *targets: str) -> Program:
        """Return the program under the schedule that it has on targets.

        A target with a pipeline of timesteps cannot run them one after the other: there, a
        sequential program gets the target's own default. Others leave the schedule as it is.
        """
        program = self
        for target in targets:
            takes = schedules_of(target)
            if takes and program.schedule not in takes:
                program = program.with_schedule(takes[0])
        return program

    def waiting_steps(self, edge: Projection) -> int:
        """Return the hardware steps that an edge's messages wait: its delay, and its lag in steps.

        Between two timesteps lies one step, or on a gated schedule a whole run through the network.

        Raises
        ------
        ProgramError
            Where feedback takes longer than its lag.
        """
        # Gated, the next timestep waits for the verdict on this one, which comes D + 1 steps later.
        timestep = self.depth + 1 if self.schedule == "gated" else 1
        if edge.lag and self.schedule == STAGED:
            raise ProgramError(
                f"{edge.pre} -> {edge.post}: a staged schedule waits once, so a lag of {edge.lag} "
                "timesteps is no fixed number of hardware steps; use --schedule gated"
            )
        steps = edge.delay + edge.lag * timestep
        if steps < 0:
            raise ProgramError(
                f"{edge.pre} -> {edge.post}: feedback with a lag of {edge.lag} comes back "
                f"{-steps} hardware steps too late on a {self.schedule} schedule; "
                "use --schedule gated"
            )
        return steps

    def save(
        self,
        out: str | Path,
        targets: Sequence[str] = (),
        strict: bool = False,
        force: bool = False,
        allow: Collection[str] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write the program's folder, whole or not at all.

        Parameters
        ----------
        out : str or Path
        targets : names
            Targets whose bundles go into subfolders of the same name, e.g. ``["lava"]``. The
            program is written under the schedule that it has there; see `for_targets`.
        strict : bool
            Whether to refuse a program that a target can only approximate.
        allow : names
            What `strict` lets be approximated; see ``FidelityReport.check``.
        force : bool
            Replace an earlier program in `out`. Files that other hands or commands put there stay,
            and so do bundles of targets that are not written now.
        options : mapping of mappings, optional
            By target, what else its ``write`` takes: ``{"c": {"prefix": "ecg"}}``.

        Raises
        ------
        ProgramError
            When `out` holds an earlier program and `force` is not given, or anything that was not
            written by seenn-deploy, when a target cannot run the program, or when its graph was not
            compiled.
        """
        program = self.for_targets(*targets)
        with folders.new_folder(Path(out), FOLDER, force) as work:
            program.write(work)
            for target in targets:
                (work / target).mkdir()
                more = (options or {}).get(target, {})
                write(target, program, work / target, strict, allow, **more)

    def write(self, folder: Path) -> None:
        """Write the program's files into `folder`.

        Raises
        ------
        ProgramError
            When the graph was not compiled: paths of other lengths do not meet.
        """
        try:
            _check_delays(self.graph)
        except ProgramError as error:
            raise ProgramError(f"{error}; let sd.compile make a program of the graph") from None
        arrays: dict[str, Array] = {}
        manifest = {
            "format": folders.FORMAT,
            "version": VERSION,
            "T": self.T,
            "exit_rule": self.exit_rule.to_dict(),
            "exit_rule_assumed": self.exit_rule_assumed,
            "schedule": self.schedule,
            "precision": self.precision,
            **input_to_dict(self.graph.source),
            "logit_scale": self.logit_scale,
            "provenance": self.provenance.to_dict(),
            "nodes": [node_to_dict(n, arrays) for n in self.graph.order],
            "projections": [
                edge_to_dict(e, i, arrays) for i, e in enumerate(self.graph.projections)
            ],
            "own": [own_to_dict(e, i, arrays) for i, e in enumerate(self.graph.projections)],
        }
        folders.write_file(folder / WEIGHTS, save(arrays))
        if isinstance(self.exit_rule, Policy):
            folders.write_file(folder / POLICY, _policy_bytes(self.exit_rule))
        if self.policy is not None:
            manifest["policy"] = integer_policy.write(self.policy, folder)
        written = [folder / name for name in FILES if (folder / name).is_file()]
        manifest["sha256"] = {path.name: folders.sha256(path) for path in written}
        folders.write_manifest(folder / folders.MANIFEST, manifest)

    @classmethod
    def load(cls, folder: str | Path) -> Program:
        """Read a program's folder.

        Raises
        ------
        ProgramError
            When it is not a program, of another version, or its weights were altered.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        try:
            schema.check(manifest)
            arrays = _read_weights(folder, manifest)
            _check_arrays(manifest, arrays)
            nodes = with_input((node_from_dict(n, arrays) for n in manifest["nodes"]), manifest)
            edges = _edges(manifest, arrays, {node.name: node.shape for node in nodes})
            graph = SpikingGraph(nodes, edges, manifest["T"], manifest["provenance"])
            _check_whole(graph, arrays)
            return cls(
                graph,
                _read_rule(folder, manifest),
                manifest["schedule"],
                manifest["precision"],
                logit_scale=manifest["logit_scale"],
                exit_rule_assumed=manifest.get("exit_rule_assumed", ""),
                policy=_read_policy(folder, manifest),
            )
        except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, SeennError) as error:
            text = str(error)
            if text.startswith(str(folder)):  # it says where already
                raise ProgramError(text) from None
            raise ProgramError(
                f"{folder / folders.MANIFEST}: damaged ({text}); compile the model again"
            ) from None


def _edges(
    manifest: dict[str, Any], arrays: dict[str, Array], shapes: Mapping[str, Shape]
) -> list[Projection]:
    stored = manifest["projections"]
    own = manifest.get("own") or [None] * len(stored)  # earlier versions have none
    pairs = zip(stored, own, strict=True)
    return [with_own(edge_from_dict(e, arrays), layers, arrays, shapes) for e, layers in pairs]


def prepared_for(graph: SpikingGraph, resize: int | None, crop: int | Pair | None) -> SpikingGraph:
    """Return the graph whose source says this resize and crop; see `Program.with_preparation`."""
    source = graph.source
    if source.coding == "events" or len(source.shape) != 3:
        what = "events" if source.coding == "events" else f"shape {source.shape}"
        raise DataError(f"resize and crop are for image files, this program takes {what}")
    told = replace(source, preparation=prepared(source.shape, resize, crop))
    return graph.replace([told, *graph.layers])


def _check_rule(program: Program) -> None:
    """Raise ProgramError where the exit rule was made for another program."""
    rule = program.exit_rule
    if isinstance(rule, Policy):
        _check_policy(program, rule)
    name = type(rule).__name__.lower()
    if rule.timesteps not in (None, program.T):
        raise ProgramError(
            f"exit rule {name} holds numbers for {rule.timesteps} timesteps, the program runs "
            f"{program.T}; calibrate it again"
        )
    if rule.program and rule.program != program.fingerprint:
        raise ProgramError(
            f"exit rule {name} was calibrated for program {rule.program}, this is program "
            f"{program.fingerprint}; calibrate it again"
        )


def _check_policy(program: Program, policy: Policy) -> None:
    """Raise ProgramError where a policy network cannot choose for this program."""
    source, classes = program.graph.source, program.graph.readout.shape[0]
    if source.coding != "direct":
        raise ProgramError(
            "a policy network sees the image before the network starts, this program takes events "
            "step by step; use another exit rule"
        )
    if policy.T != program.T:
        raise ProgramError(
            f"the policy network is for {policy.T} timesteps, the program runs {program.T}: "
            f"compile with T = {policy.T}, or use a network of {program.T} outputs, one per exit"
        )
    for what, has, needs in (
        ("images of shape", policy.input_shape, source.shape),
        ("classes,", policy.classes or classes, classes),
    ):
        if has != needs:
            raise ProgramError(
                f"the policy network is for {what} {has}, the program for {needs}; "
                "use one that was trained for this program (seenn train policy)"
            )


def _policy_bytes(policy: Policy) -> bytes:
    try:
        content = Path(policy.onnx).read_bytes()
    except OSError as error:
        raise ProgramError(f"{policy.onnx}: cannot be read ({error.strerror})") from None
    # The rule was checked against what the file held then.
    if hashlib.sha256(content).hexdigest() != policy.sha256:
        raise ProgramError(f"{policy.onnx}: the policy network was altered since it was read")
    return content


def _read_rule(folder: Path, manifest: dict[str, Any]) -> exits.ExitRule:
    stored = dict(manifest["exit_rule"])
    if stored.get("rule") in exits.names():
        values = {name: value for name, value in stored.items() if name != "rule"}
        schema.check_values(exits.rule_class(stored["rule"]), values, "exit_rule", null=True)
    if "onnx" in stored:
        _check_file(folder / POLICY, manifest)
        stored["onnx"] = str(folder / POLICY)
        if stored.get("sha256") != manifest["sha256"][POLICY]:
            raise ProgramError(f"{folder / POLICY}: is another network than the exit rule's")
    return exits.from_dict(stored)


def _read_policy(folder: Path, manifest: dict[str, Any]) -> IntegerPolicy | None:
    if manifest.get("policy") is None:
        return None
    _check_file(folder / integer_policy.FILE, manifest)
    return integer_policy.read(folder, manifest["policy"])


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the ``program.json`` of a folder."""
    path = folder / folders.MANIFEST
    if not path.is_file():
        raise ProgramError(
            f"{folder}: no program here (no {folders.MANIFEST}); make one with seenn-compile"
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["format"], manifest["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ProgramError(f"{path}: not a program's manifest; compile the model again") from None
    if found != (folders.FORMAT, VERSION):
        raise ProgramError(
            f"{path}: format {found[0]!r} version {found[1]}, this is {folders.FORMAT!r} version "
            f"{VERSION}; compile the model again"
        )
    folders.check_manifest(path, manifest)
    return manifest


def _read_weights(folder: Path, manifest: dict[str, Any]) -> dict[str, Array]:
    path = folder / WEIGHTS
    _check_file(path, manifest)
    try:
        arrays: dict[str, Array] = load_file(path)
    except SafetensorError as error:
        raise ProgramError(f"{path}: {error}; compile the model again") from None
    return arrays


_COMPUTED = ("float32", "int8", "int16", "int32")  # what kernels take


def _check_arrays(manifest: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Raise ProgramError where arrays are not of the kind of number that the precision says."""
    kinds = "f" if manifest["precision"] == "float32" else "i"
    for name, array in arrays.items():
        computed = name.endswith(("/weight", "/bias"))
        # Zeros and signs, as of projections into sums, are the same numbers in every precision.
        signs = computed and set(np.unique(array).tolist()) <= {-1, 0, 1}
        known = array.dtype.name in _COMPUTED if computed else array.dtype.itemsize <= 8
        if array.dtype.kind not in (kinds if computed and not signs else "iuf") or not known:
            raise ProgramError(
                f"{WEIGHTS}: {name} is {array.dtype} in a program of {manifest['precision']}"
            )


def _check_whole(graph: SpikingGraph, arrays: dict[str, Array]) -> None:
    """Raise ProgramError where edges wait otherwise than compiled, or arrays have no use."""
    _check_delays(graph)
    used = arrays_of(graph)
    for number, edge in enumerate(graph.projections):
        own_to_dict(edge, number, used)
    unused = sorted(arrays.keys() - used.keys())
    if unused:
        raise ProgramError(f"{WEIGHTS} holds {unused[0]}, which nothing takes")


def _check_delays(graph: SpikingGraph) -> None:
    """Raise ProgramError where an edge waits otherwise than compiled."""
    for edge in graph.projections:
        waits = graph.depth[edge.post] - graph.depth[edge.pre] - graph.stages(edge)
        if edge.delay != waits:
            raise ProgramError(
                f"{edge.pre} -> {edge.post}: a delay of {edge.delay} steps, where all paths meet "
                f"after {waits}"
            )


def _check_file(path: Path, manifest: dict[str, Any]) -> None:
    if not path.is_file():
        raise ProgramError(f"{path}: missing; compile the model again")
    if folders.sha256(path) != manifest["sha256"].get(path.name):
        raise ProgramError(
            f"{path}: the checksum differs from {folders.MANIFEST}, the weights were altered; "
            "compile the model again"
        )


def target_names() -> list[str]:
    """The targets there are: every file and folder of the room but those that all of them use."""
    return plugins.names("targets", without=("base", "command", "devices"))


def schedules_of(target: str) -> tuple[Schedule, ...]:
    """The schedules that a target can follow, its default first; none where it follows any.

    They are the constant ``SCHEDULES`` beside the target's ``write``. A target of one file that
    runs what it writes and names none has a pipeline, as Lava has.
    """
    if target not in target_names():
        return ()
    module = plugins.load("targets", target, main="write")
    pipeline = ("speculative", "gated", "pipelined") if hasattr(module, "Device") else ()
    return tuple(getattr(module, "SCHEDULES", pipeline))


def takes_sums(target: str) -> bool:
    """Whether a target takes average pools as nodes of their own: ``"sum"`` in its ``POOLS``.

    Without that constant beside its ``write`` it takes pools folded into the layer behind alone.
    """
    module = plugins.load("targets", target, main="write")
    return "sum" in getattr(module, "POOLS", ("fold",))


def write(
    target: str,
    program: Program,
    folder: Path,
    strict: bool = False,
    allow: Collection[str] = (),
    **options: Any,
) -> None:
    """Write what `target` needs to run a program into an existing, empty folder.

    Parameters
    ----------
    target : str
    program : Program
    folder : Path
    strict : bool
        Whether to refuse a program that the target can only approximate.
    allow : names
        What `strict` lets be approximated.
    **options
        What else the target's own ``write`` takes.

    Raises
    ------
    ProgramError
        When there is no such target, or it cannot run this program.
    RefusedError
        When a target that reports what it changes cannot run this program.
    """
    if target not in (known := target_names()):
        raise ProgramError(f"target {target!r} does not exist; there are {', '.join(known)}")
    with _refusals_of(target):
        _target(target).write(program.for_targets(target), folder, **options)
        found = report(folder)
        if found is not None:
            found.check(strict, allow)


def examine(target: str, program: Program) -> FidelityReport:
    """Return what `write` would report of a program, without writing it.

    A target says it in ``examine(program)``; one that has none is let write into a folder that is
    removed again. It refuses a program with the same errors as `write`.
    """
    module = _target(target)
    with _refusals_of(target):
        program = program.for_targets(target)
        if hasattr(module, "examine"):
            said: FidelityReport = module.examine(program)
            return said
        with TemporaryDirectory() as folder:
            module.write(program, Path(folder))
            return report(Path(folder)) or FidelityReport(target)


def precisions(target: str, every: Sequence[str]) -> Sequence[str]:
    """The precisions that a target is there for: its ``PRECISIONS``, by default `every` one."""
    module = _target(target)
    found: Sequence[str] = getattr(module, "PRECISIONS", every if hasattr(module, "write") else ())
    return found


def _target(name: str) -> Any:
    return plugins.load("targets", name, main="write")


@contextmanager
def _refusals_of(target: str) -> Iterator[None]:
    """Name the target in a refusal, which always has a report."""
    try:
        yield
    except RefusedError as error:
        error.target = target
        raise
    except SeennError as error:
        finding = Finding("program", str(error), "refused")
        refused = RefusedExportError(str(error), FidelityReport(target, [finding]))
        refused.target = target
        raise refused from None


__all__ = ["SCHEDULES", "Program", "read_manifest"]
