"""``seenn compile``, ``convert`` and ``inspect``: making programs, and looking at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli.shared import check_schedule, write_json
from seenn_deploy.errors import SeennError
from seenn_deploy.fidelity import FidelityReport, Proof, RefusedError
from seenn_deploy.progress import shown

if TYPE_CHECKING:
    from seenn_deploy.exits import ExitRule
    from seenn_deploy.ir.graph import SpikingGraph
    from seenn_deploy.ir.program import Program
    from seenn_deploy.ir.provenance import Provenance
    from seenn_deploy.verification.precision import PrecisionReport


PROGRAM = opt.together(
    click.argument("model", type=opt.PATH),
    click.option("-o", "--out", required=True, type=opt.PATH,
                 help="Folder of the program."),
    opt.FORCE,
    click.option("--target", multiple=True, callback=opt.target_names,
                 help="Also write the files of this target: lava, c, nir or sanafe; several with "
                 "commas."),
    click.option("--c-prefix", help="What names in the files of --target c begin with.  [default: "
                 "net]"),
    click.option("--board", help="Refuse what this board's memory cannot hold, of --target c: a "
                 "name such as rp2040 or stm32f407, or a JSON file."),
    click.option("--chip", help="Chip of --target sanafe: loihi1, or the JSON file of one like it. "
                 " [default: loihi1]"),
    opt.with_rule,
    click.option("--precision", default="float32", show_default=True),
    click.option("--schedule",
                 help="sequential, pipelined, speculative, gated or staged.  [default: sequential; "
                 "with --target lava: speculative]"),
)  # fmt: skip
STRICT = opt.together(
    click.option("--strict", is_flag=True,
                 help="Refuse what import, precision or target can only approximate; int8 always "
                 "is."),
    click.option("--allow", multiple=True,
                 help="What --strict lets be approximated: a layer, or int8, the model's file name "
                 "or a target for all of theirs."),
)  # fmt: skip
INPUT_RANGE = click.option(
    "--input-range", callback=opt.limits,
    help="Smallest and largest input value as LOW,HIGH: 0,1 for pixels. int8 needs it where "
    "neither normalisation nor samples say it.",
)  # fmt: skip
RESIZE = opt.together(
    click.option("--resize", type=click.IntRange(min=1),
                 help="Bring the shorter side of image files to so many pixels before the network "
                 "(256 for most of ImageNet); the program keeps it."),
    click.option("--crop", callback=opt.size,
                 help="Then cut HEIGHTxWIDTH out of the middle: the network's own size, the "
                 "default."),
)  # fmt: skip
NO_CHECK = click.option(
    "--no-check", is_flag=True,
    help="Do not compare the graph with what runs its source: the module itself, our own torch "
    "model of a checkpoint, or onnxruntime. Every table then says: not proven.",
)  # fmt: skip


IMPORT = opt.together(
    click.option("-T", "--timesteps", "T", type=int,
                 help="Number of timesteps.  [default: 4, or 16 for converted networks]"),
    click.option("--tau", type=float,
                 help="Leak of the LIF neurons: the share of the potential that a timestep "
                 "leaves.  [default: 0.5]"),
    click.option("--threshold", "v_threshold", type=float,
                  help="Firing threshold V of the LIF neurons (the exit thresholds are --alpha, "
                  "--theta and --beta).  [default: 1]"),
    click.option("--comparison", type=click.Choice([">", ">="]),
                  help="Comparison of potential and threshold; '>=' for networks trained with "
                  "dspike=True.  [default: '>']"),
    click.option("--dt", type=float,
                 help="NIR: length of a timestep in the file's unit of time; by default R dt / "
                 "tau is 1."),
    click.option("--integration", type=click.Choice(["euler", "exact"]),
                 help="NIR: method that turns differential equations into timesteps.  [default: "
                 "euler]"),
    click.option("--reset", type=click.Choice(["hard", "soft"]),
                  help="NIR: reset of the neurons, which the file does not say.  [default: hard, "
                 "to zero]"),
    click.option("--input-size", callback=opt.size,
                 help="Size of the images as HEIGHTxWIDTH.  [default: 32x32, or what the "
                 "classifier takes]"),
    click.option("--example",
                 help="Input of a torch module: a shape such as 2,3,32,32, or a .npy file."),
    click.option("--output", help="Of a torch module that returns several tensors: the number or "
                 "the name of the one that holds the logits."),
    NO_CHECK,
    click.option("--coding", type=click.Choice(["direct", "events"]),
                 help="Coding of the input.  [default: by architecture]"),
    click.option("--step-us", type=float,
                  help="Event recordings: microseconds per timestep; events after the T-th "
                 "timestep are not seen.  [default: T equal parts]"),
    click.option("--count-events", "counts_events", is_flag=True,
                  help="Event recordings: a value is the number of events, not 0 or 1."),
    opt.MEAN_STD,
    opt.NO_NORMALIZE,
)  # fmt: skip


@click.command("compile")
@PROGRAM
@IMPORT
@INPUT_RANGE
@RESIZE
@click.option("--calibration", type=opt.IMAGES,
              help="Samples from which int8 takes its scales, and on which it is compared with "
              "float32, layer by layer; --pools auto and --attention-order cheapest count on "
              "them.")  # fmt: skip
@click.option("--pools", default="fold", show_default=True,
              help="How average pools are deployed: fold, as a part of the layer behind; sum, as "
              "nodes that add the spikes of each window; auto, what costs less (and fold where a "
              "target cannot take sums).")  # fmt: skip
@click.option("--attention-order", default="module", show_default=True,
              help="Order of the products of attention: module, as the network has it; cheapest, "
              "what costs less of (q k^T) v and q (k^T v). Spikes are the same.")  # fmt: skip
@STRICT
@opt.JSON
def compile_command(
    model: Path,
    out: Path,
    force: bool,
    target: tuple[str, ...],
    c_prefix: str | None,
    board: str | None,
    chip: str | None,
    rule: ExitRule | None,
    precision: str,
    schedule: Any,
    example: str | None,
    input_range: tuple[float, float] | None,
    resize: int | None,
    crop: tuple[int, int] | None,
    calibration: str | Path | None,
    pools: Any,
    attention_order: Any,
    strict: bool,
    allow: tuple[str, ...],
    json_file: Path | None,
    **options: Any,
) -> None:
    """Compile a trained network into a program. --target adds the files of a device.

    MODEL is a state_dict saved by SEENN's training script (.pth, .pt) or the same as .safetensors;
    ResNet, VGG, VGGSNN and the networks of its conversion code are recognised from their tensors.
    Or a graph of the Neuromorphic Intermediate Representation (.nir). Or a torch module with the
    spiking layers of SpikingJelly, snnTorch, Norse or SEENN as FILE.py:NAME, NAME being the module
    or what returns it; the file is run. Or the folder of a program, which is written anew with
    another exit rule, schedule or target.
    What the file does not say has SEENN's defaults: T, leak, threshold, CIFAR-10's mean and std for
    three channels. Without --exit, the exit rule is the one that the network came with: confidence
    0.9 for SEENN's own checkpoints, for a .nir the one in its sidecar; without one it is fixed.

    \b
    Examples:
      seenn-compile model.pth -o build/
      seenn-compile model.pth --target lava --exit confidence --alpha 0.9 -o build/
      seenn-compile dspike.pth --comparison '>=' -T 2 -o build/
      seenn-compile events.nir -T 300 --step-us 1000 --count-events -o build/
      seenn-compile nets.py:make_net --example 2,3,32,32 -T 4 -o build/
      seenn-compile build/ --exit fixed --target nir -o other/
      seenn-compile build/ --resize 256 --crop 224 -o other/
      seenn-compile model.pth --precision int8 --calibration images.npz --target lava -o build/
    """
    import seenn_deploy as sd
    from seenn_deploy.io import folders
    from seenn_deploy.ir.program import FOLDER as PROGRAM_FOLDER
    from seenn_deploy.ir.program import takes_sums

    # Before the import, which can take minutes.
    folders.check_ours(out, PROGRAM_FOLDER, force)
    check_schedule(schedule, *target)
    of_targets = _of_targets(target, c_prefix, board, chip)
    counts = pools == "auto" or attention_order == "cheapest"
    compiled = (model / folders.MANIFEST).is_file()
    if calibration and precision == "float32" and not counts and not compiled:
        raise SeennError(
            "--calibration is for the scales of int8, for --pools auto and for --attention-order "
            "cheapest; add one of them"
        )
    if pools == "auto" and not all(map(takes_sums, target)):
        pools = "fold"
    of_import = given(options)
    if compiled:
        of_source = {
            "calibration": calibration, "input_range": input_range,
            "pools": None if pools == "fold" else pools,
            "attention_order": None if attention_order == "module" else attention_order,
        }  # fmt: skip
        program = _changed(model, rule, of_import | {k: v for k, v in of_source.items() if v})
        if resize is not None or crop is not None:
            program = program.with_preparation(resize, crop)
        with _refusal_into(json_file):
            program.provenance.check(strict, allow)
        _save(program, out, force, target, strict, allow, json_file, of_targets)
        return
    with _refusal_into(json_file), shown(None, f"importing {model.name}"):
        graph = _imported(model, example, strict, of_import | {"allow": allow})
    with _refusal_into(json_file), shown(None, "compiling"):
        program = sd.compile(
            graph, rule, precision=precision, schedule=schedule or "sequential",
            input_range=input_range, calibration=calibration, pools=pools,
            attention_order=attention_order, resize=resize, crop=crop, strict=strict, allow=allow,
        )  # fmt: skip
    changes = None
    if calibration and precision != "float32":
        changes = _compare_with_float(graph, program, calibration)
    _save(program, out, force, target, strict, allow, json_file, of_targets, changes)


def _of_targets(
    targets: tuple[str, ...], c_prefix: str | None, board: str | None, chip: str | None
) -> dict[str, dict[str, Any]]:
    """What targets take besides the program, by target, checked before any work is done."""
    return _of_c(targets, c_prefix, board) | _of_sanafe(targets, chip)


def _of_sanafe(targets: tuple[str, ...], chip: str | None) -> dict[str, dict[str, Any]]:
    if chip is None:
        return {}
    from seenn_deploy.compiler.mapping.chip import load
    from seenn_deploy.targets.sanafe.architecture import check

    if "sanafe" not in targets:
        raise SeennError("--chip is what --target sanafe writes for; add --target sanafe")
    check(load(chip))
    return {"sanafe": {"chip": chip}}


def _of_c(
    targets: tuple[str, ...], c_prefix: str | None, board: str | None
) -> dict[str, dict[str, Any]]:
    options = {"prefix": c_prefix, "board": board}
    found = {name: value for name, value in options.items() if value is not None}
    if not found:
        return {}
    from seenn_deploy.targets.c.budget import Board
    from seenn_deploy.targets.c.text import check_prefix

    if "c" not in targets:
        raise SeennError("--c-prefix and --board are about what --target c writes; add --target c")
    if c_prefix is not None:
        check_prefix(c_prefix)
    if board is not None:
        Board.read(board)
    return {"c": found}


def _changed(model: Path, rule: ExitRule | None, given: dict[str, Any]) -> Program:
    """A program that was compiled before, under the exit rule and schedule that are asked for."""
    from seenn_deploy.cli.shared import load_program

    context = click.get_current_context()
    # A default is nobody's wish: only what was typed can contradict what is compiled already.
    typed = click.core.ParameterSource.COMMANDLINE
    both = ("precision", "schedule")
    asked = [name for name in both if context.get_parameter_source(name) is typed]
    program = load_program(model, rule)
    if "precision" in asked and context.params["precision"] != program.precision:
        raise SeennError(
            f"{model}: is compiled in {program.precision} already; compile its source in "
            f"{context.params['precision']}"
        )
    # They shaped the weights, which are fixed by now.
    if given:
        name = next(iter(given)).replace("_", "-")
        raise SeennError(
            f"{model}: is compiled already, --{name} is for its source; compile that with "
            f"--{name}, together with the exit rule; a program takes another exit rule, schedule "
            "and target"
        )
    if "schedule" in asked:
        program = program.with_schedule(context.params["schedule"])
    return program


def _imported(
    model: Path, example: str | None, strict: bool, options: dict[str, Any]
) -> SpikingGraph:
    """Import the graph of a file, or of a torch module that a Python file makes."""
    import seenn_deploy as sd
    from seenn_deploy.cli import modules

    # A file may define several networks, and to take the first one would be a guess.
    if model.suffix == ".py":
        raise SeennError(f"{model}: name the torch module in it, or what returns one: {model}:NAME")
    module, example_input = modules.opened(model, example)
    return sd.import_model(module, example_input, strict=strict, **options)


@click.command("convert", cls=opt.renaming(calibrate="calibration"))
@PROGRAM
@click.option("-T", "--timesteps", "T", type=int, help="Default: 16.")
@click.option("--calibration", type=opt.PATH,
              help="Images for the thresholds of an ONNX model; 128 are used.")  # fmt: skip
@click.option("--percentile", type=float,
              help="Threshold: this percentile of activations; default: 99.9.")  # fmt: skip
@click.option(
    "--input-size", callback=opt.size, help="HEIGHTxWIDTH of a checkpoint's images; 32x32."
)
@opt.MEAN_STD
@opt.NO_NORMALIZE
@NO_CHECK
@INPUT_RANGE
@STRICT
@opt.JSON
def convert_command(
    model: Path,
    out: Path,
    force: bool,
    target: tuple[str, ...],
    c_prefix: str | None,
    board: str | None,
    chip: str | None,
    rule: ExitRule | None,
    precision: str,
    schedule: Any,
    strict: bool,
    allow: tuple[str, ...],
    json_file: Path | None,
    **options: Any,
) -> None:
    """Convert a trained ANN into a spiking program of IF neurons.

    MODEL is a state_dict of SEENN's conversion code (QCFS activations with learned thresholds), or
    an ONNX file with Relu or Clip activations.

    \b
    Examples:
      seenn convert qcfs_resnet20.pth -T 16 --exit confidence --alpha 0.99 -o build/
      seenn convert ann.onnx --calibration x.npz --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2 -o build/
    """
    import seenn_deploy as sd
    from seenn_deploy.io.folders import check_ours
    from seenn_deploy.ir.program import FOLDER as PROGRAM_FOLDER

    check_ours(out, PROGRAM_FOLDER, force)
    check_schedule(schedule, *target)
    of_targets = _of_targets(target, c_prefix, board, chip)
    with _refusal_into(json_file), shown(None, f"converting {model.name}"):
        program = sd.convert(
            model, rule, precision=precision, schedule=schedule or "sequential", strict=strict,
            allow=allow, **given(options),
        )  # fmt: skip
    _save(program, out, force, target, strict, allow, json_file, of_targets)


@click.command("inspect")
@opt.FOLDER
@opt.JSON
def inspect_command(build: Path, json_file: Path | None) -> None:
    """Print one line per layer: synapses, shapes, neurons, depth.

    Synapses that take timesteps are marked t-1, t-2, ..; those that close a loop also say so.

    \b
    Example:
      seenn inspect build/
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import layout, programs

    program = sd.Program.load(build)
    layers = sd.inspect(program)
    console.show(programs.layer_table(program, layers), "")
    provenance = program.provenance
    rows = [
        *layout.unproven(provenance.not_proven),
        *programs.neuron_rows(layers),
        *programs.own_rows(layers),
    ]
    console.show(layout.facts_table(rows))
    write_json(json_file, provenance.warning | {"layers": [asdict(layer) for layer in layers]})


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, --no-check as ``check=False``.

    Which frontend reads the model is not known yet, and each has defaults of its own.
    """
    found = {name: v for name, v in options.items() if v is not None and v is not False}
    return {
        name.removeprefix("no_"): not v if name.startswith("no_") else v
        for name, v in found.items()
    }


def _save(
    program: Program,
    out: Path,
    force: bool,
    targets: tuple[str, ...],
    strict: bool,
    allow: tuple[str, ...],
    json_file: Path | None,
    of_targets: Mapping[str, Mapping[str, Any]],
    changes: PrecisionReport | None = None,
) -> None:
    """Write a program and what its targets take; print and keep what there is to say of it."""
    # Before it is written and shown: a pipelined target cannot follow a sequential schedule.
    program = program.for_targets(*targets)
    with _refusal_into(json_file, program), shown(None, f"writing {out}"):
        program.save(out, targets, strict, force, allow, of_targets)
    exports = _export_reports(out, targets)
    _print_compiled(program, out, targets, exports)
    _print_quantized(program, changes)
    compared = {"compared": changes.summary()} if changes else {}
    write_json(json_file, _compiled_summary(program, exports) | compared)


def _print_compiled(
    program: Program, out: Path, targets: tuple[str, ...], exports: dict[str, FidelityReport]
) -> None:
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import layout

    provenance = program.graph.provenance
    assumed = ", ".join(f"{k}={_short(v)}" for k, v in provenance.assumed.items())
    why = program.exit_rule_assumed
    rule = str(program.exit_rule)
    rows = [
        ("network", f"{provenance.family} from {provenance.source}"),
        ("assumed", assumed),
        *_converted(provenance.conversion),
        *_proof(provenance),
        *_pools(provenance),
        *_attention(provenance),
        *_prepared(program),
        # A rule that nobody chose must not look like one that somebody did.
        ("exit rule", f"{rule}, assumed: {why}" if why else rule),
        ("written", ", ".join([f"{out}/", *(f"{out / target}/" for target in targets)])),
        *_left_there(out, targets),
    ]
    console.show(layout.facts_table(rows))
    if provenance.report:
        _print_report("import", FidelityReport.from_dict(provenance.report))
    for target, report in exports.items():
        _print_report(f"export to {target}", report)


def _prepared(program: Program) -> list[tuple[str, str]]:
    said = program.graph.source.preparation
    return [("image files", str(said))] if said else []


def _proof(provenance: Provenance) -> list[tuple[str, str]]:
    """How the import was proven; a graph that was made by hand has nothing to prove."""
    if not provenance.proof:
        return [("not proven", why)] if (why := provenance.not_proven) else []
    status, _, how = Proof.from_dict(provenance.proof).text.partition(": ")
    return [(status, how)]


def _pools(provenance: Provenance) -> list[tuple[str, str]]:
    """What each pool costs per timestep either way, once one of them is deployed as a sum."""
    if not any(pool["choice"] == "sum" for pool in provenance.pools):
        return []
    on = "on the samples" if provenance.pools[0]["measured"] else "if every neuron spikes"
    return [
        (
            f"pool of {pool['pre']}",
            f"{'summed' if pool['choice'] == 'sum' else 'folded'}; {on} {pool['fold_ac']:,.0f} AC "
            f"folded, {pool['sum_ac']:,.0f} AC and {pool['payloads']:,.0f} payloads, which meet "
            f"{pool['behind']:,.0f} synapses, summed",
        )
        for pool in provenance.pools
    ]


def _attention(provenance: Provenance) -> list[tuple[str, str]]:
    """What products of attention cost per timestep in another order, once one has it."""
    changed = [order for order in provenance.attention if order["choice"] == "cheapest"]
    if not changed:
        return []
    on = "on the samples" if changed[0]["measured"] else "if every neuron spikes"
    before, after = (sum(order[of] for order in changed) for of in ("module", "other"))
    told = (
        f"{len(changed)} of {len(provenance.attention)} in another order than the network's; {on} "
        f"{after:,.0f} AC per timestep in place of {before:,.0f}"
    )
    return [("attention", told)]


def _left_there(out: Path, targets: tuple[str, ...]) -> list[tuple[str, str]]:
    """List what an output folder held and still holds; its bundles are of another program."""
    from seenn_deploy.ir import program

    # --force keeps what it did not write, which a reader may take for a part of this program.
    written = {program.FOLDER.manifest, *program.FOLDER.files, *targets}
    left = sorted(path.name for path in out.iterdir() if path.name not in written)
    older = [f"{out / name}/" for name in left if name in program.target_names()]
    rows = [("left as it was", ", ".join(left))] if left else []
    if older:
        rows.append(
            ("note", f"{', '.join(older)} came from an earlier compile; renew with --target")
        )
    return rows


def _print_report(what: str, report: FidelityReport) -> None:
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables.fidelity import fidelity_table

    console.show("", click.style(what, bold=True), fidelity_table(report))


def _export_reports(out: Path, targets: tuple[str, ...]) -> dict[str, FidelityReport]:
    """Read the fidelity reports that targets wrote, by target."""
    from seenn_deploy.fidelity import report

    found = {target: report(out / target) for target in targets}
    return {target: r for target, r in found.items() if r is not None}


def _compiled_summary(program: Program, exports: dict[str, FidelityReport]) -> dict[str, Any]:
    """Return the figures of a compiled program, for ``--json``."""
    provenance = program.graph.provenance
    found: dict[str, Any] = {"import": provenance.report or None}
    if provenance.precision:
        found["int8"] = provenance.precision
    if exports:
        found["export"] = {target: report.to_dict() for target, report in exports.items()}
    figures = {
        **provenance.warning,
        "program": program.fingerprint,
        "network": provenance.family,
        "source": provenance.source,
        "assumed": provenance.assumed,
        "exit_rule": program.exit_rule.to_dict(),
        "exit_rule_assumed": program.exit_rule_assumed or None,
        "schedule": program.schedule,
        "precision": program.precision,
        "T": program.T,
        "layers": len(program.graph.layers),
        "depth": program.graph.depth[program.graph.readout.name],
        "report": found,
        "proof": dict(provenance.proof),
    }
    quantized = provenance.quantized
    return figures | ({"quantized": quantized} if quantized else {})


@contextmanager
def _refusal_into(json_file: Path | None, program: Program | None = None) -> Iterator[None]:
    """Write what was found before a refusal to ``--json``, then let the error pass.

    An import is refused before there is a `program`, an export afterwards.
    """
    try:
        yield
    except RefusedError as error:
        if program is None:
            of = "int8" if error.report.subject == "int8" else "import"
            summary: dict[str, Any] = {"report": {of: error.report.to_dict()}}
        else:
            summary = _compiled_summary(program, {error.target: error.report})
        write_json(json_file, {"refused": str(error), **summary})
        raise


def _compare_with_float(
    graph: SpikingGraph, program: Program, images: str | Path
) -> PrecisionReport:
    import seenn_deploy as sd
    from seenn_deploy.ir.inputs import for_program
    from seenn_deploy.verification.precision import compare_precisions

    # All that differs is the precision, so all that changed is its doing.
    reference = sd.compile(graph, program.exit_rule, schedule=program.schedule)
    with shown(None, "comparing int8 with float32"):
        return compare_precisions(reference, program, for_program(reference, images))


def _print_quantized(program: Program, changes: PrecisionReport | None) -> None:
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import programs

    if program.precision != "float32":
        stored = program.provenance.precision
        if stored:
            _print_report(program.precision, FidelityReport.from_dict(stored))
        console.show("", *([] if stored else [click.style(program.precision, bold=True)]))
        console.show(*programs.quantized_tables(program, changes))


def _converted(conversion: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not conversion:
        return []
    v = conversion["thresholds"].values()
    return [("converted", f"{len(v)} activations, thresholds {min(v):.4g} to {max(v):.4g}")]


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, int) for v in value):
        return "x".join(map(str, value))
    return "none" if value is None else str(value)
