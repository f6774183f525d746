"""The C target: it writes a folder of C99 that runs an int8 program without anything else.

``net.c`` has one function an operator, from ``runtime/``, for the types that the program needs;
``weights.c`` its tables, ``network.json`` what a device has to know. The same program gives the
same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from seenn_deploy.fidelity import REPORT, FidelityReport
from seenn_deploy.io import folders
from seenn_deploy.ir.text import layer_text
from seenn_deploy.targets.c import expected, refusal, rules, sizes, text
from seenn_deploy.targets.c.budget import Board
from seenn_deploy.targets.c.layout import Grid
from seenn_deploy.targets.c.memory import placed
from seenn_deploy.targets.c.nodes import add_layer, add_source, input_type, sending
from seenn_deploy.targets.c.source import Source, Stopping

FORMAT, VERSION = "seenn-deploy c folder", 1
PRECISIONS = ("int8",)
SCHEDULES = ("sequential",)  # a processor runs one timestep after the other
POOLS = ("fold", "sum")
NETWORK = "network.json"
PREFIX = "net"
TESTS = 2  # inputs of the self-test


def write(
    program: ir.Program, folder: Path, prefix: str = PREFIX, board: str | None = None
) -> None:
    """Write a program as C into an existing, empty folder.

    Parameters
    ----------
    program : Program
        Of int8 precision.
    folder : Path
    prefix : str
        What all names in the C files begin with.
    board : str, optional
        Name or file of a board whose memory has to be enough; see :class:`budget.Board`.

    Raises
    ------
    ProgramError
        When `prefix` is no C identifier, there is no such board, or its memory is too small.
    RefusedError
        As :func:`examine`.
    """
    text.check_prefix(prefix)
    given = None if board is None else Board.read(board)
    report, source, rule = _made(program)
    if given:
        refusal.check(given, source, sizes.table(source, rule), lambda T: _sizes(program, T))
    files = _files(source, rule, prefix)
    for name, content in files.items():
        folders.write_file(folder / name, content)
    spec = {
        "format": FORMAT,
        "version": VERSION,
        "made_for": program.made_for,
        "prefix": prefix,
        **_described(source),
        "sha256": {name: folders.sha256(folder / name) for name in sorted(files)},
    }
    folders.write_manifest(folder / NETWORK, spec)
    folders.write_json(folder / REPORT, report.to_dict())


def examine(program: ir.Program) -> FidelityReport:
    """Report every layer as faithful: C's numbers are the simulator's.

    Raises
    ------
    RefusedError
        When the program is none of integers, or a layer or the exit rule has no form in C; the
        report has everything of that.
    """
    return _made(program)[0]


def _made(program: ir.Program) -> tuple[FidelityReport, Source, Stopping]:
    report = FidelityReport("c")
    with report.gathering("program"):
        if program.precision not in PRECISIONS:
            raise ProgramError(
                f"precision {program.precision!r}: target c computes in integers; "
                f"{_instead(program.graph)}"
            )
    report.stop()
    source = Source(program)
    add_source(source)
    for node in program.graph.layers:
        if found := sending(node, source):
            source.output(node, *found)
    for node in program.graph.layers:
        with report.gathering(node.name):
            add_layer(node, source)
            report.faithful(node.name, layer_text(program.graph, node))
        # What comes behind a layer that has no form cannot be told.
        report.stop()
    with report.gathering("exit rule"):
        rule = rules.lowered(source)
    report.stop()
    return report, source, rule


def _instead(graph: ir.SpikingGraph) -> str:
    """What to do with a program that is none of integers."""
    if real := next((node for node in graph.layers if node.real), None):
        return f"and {real.name} ({real.text}) sends real values, which have no integer form"
    return "compile the model with --precision int8"


def _sizes(program: ir.Program, T: int) -> list[dict[str, object]]:
    """Bytes by layer of the program with so many timesteps."""
    shorter = replace(program, graph=program.graph.replace(T=T))
    return sizes.table(*_made(shorter)[1:])


def _described(source: Source) -> dict[str, object]:
    """What a device has to know of the network: how to ask it, and how to read its answer."""
    program, graph = source.program, source.program.graph
    ctype, base = input_type(source.ranges.input)
    return {
        "T": program.T,
        "classes": list(graph.readout.shape),
        "logit_scale": program.logit_scale,
        **({"choices": source.policy.choices} if source.policy else {}),
        "input": {
            "shape": list(graph.source.shape),
            "frames": program.T if graph.source.coding == "events" else 1,
            "scale": graph.source.scale,
            "offset": graph.source.offset,
            "type": ctype,
            "least": base,
        },
        "populations": [
            {"name": node.name, "shape": list(node.shape), "layer": source.number[node.name]}
            for node in graph.populations
        ],
    }


def _files(source: Source, rule: Stopping, prefix: str) -> dict[str, str]:
    program = source.program
    about = text.plain(f"{program.graph.text}, T={program.T}, {program.exit_rule}")
    files = {
        "net.h": _net_h(source, about),
        "weights.h": text.runtime(
            "weights.h", about=about, declared="\n".join([*source.declared, rule.declarations])
        ),
        "net.c": _net_c(source, rule, about),
        "weights.c": f'/* {about} */\n#include "weights.h"\n\n'
        + "\n".join([*source.tables, rule.tables]),
        "main.c": text.runtime("main.c", about=about, trace=_trace(source)),
        "selftest.c": _selftest(source, about),
        "Makefile": text.runtime("Makefile", about=about),
        "README.md": sizes.readme(source, rule, about),
    }
    return {name: text.prefixed(content, prefix) for name, content in files.items()}


def _net_h(source: Source, about: str) -> str:
    program, graph = source.program, source.program.graph
    grid, found = Grid(graph.source.shape), source.ranges.input
    ctype, base = input_type(found)
    limited = ctype != "int32" and found is not None
    span = (
        f"#define NET_INPUT_SPAN {found.high - found.low}u /* the largest value */"
        if limited and found
        else ""
    )
    return text.runtime(
        "net.h",
        about=about,
        fingerprint=program.fingerprint,
        T=str(program.T),
        classes=str(graph.readout.shape[0]),
        frames=str(program.T if graph.source.coding == "events" else 1),
        frame_size=str(grid.size),
        shape=f"{grid.height} x {grid.width} pixels of {grid.channels} channels",
        least=f"({base})",
        span=span,
        choices=f"\n#define NET_CHOICES {source.policy.choices}u /* of the policy network */"
        if source.policy
        else "",
        input=ctype,
        z=source.logits,
        members="".join(f"{line}\n" for line in source.members),
        shared=_shared(source),
    )


def _shared(source: Source) -> str:
    """The union of buffers: each at its place, behind bytes that others use."""
    offsets, _ = placed(source.buffers)
    lines = ["    union {\n"]
    for buffer in source.buffers:
        ahead = f"uint64_t before[{offsets[buffer.name] // 8}]; " if offsets[buffer.name] else ""
        lines.append(
            f"        struct {{ {ahead}{buffer.ctype}_t at[{buffer.count}]; }} {buffer.name};\n"
        )
    lines.append("    } shared;\n")
    return "".join(lines)


def _net_c(source: Source, rule: Stopping, about: str) -> str:
    found = source.ranges.input
    limited = found is not None and input_type(found)[0] != "int32"
    layers, steps = [], []
    if source.policy:
        steps += ["if (net->t == 0u) {", "    net_policy(net, frame);", "}"]
    if source.first:
        layers.append(_function("net_image", "the image's part of all currents", source.first))
        steps += ["if (net->t == 0u) {", "    net_image(net, frame);", "}"]
    for node in source.program.graph.order:
        if code := source.steps.get(node.name):
            name = f"net_layer_{source.number[node.name]:02d}"
            layers.append(_function(name, f"{node.name}: {node.text}", code))
            steps.append(f"{name}(net{', frame' if _reads_frame(code) else ''});")
    check = [
        "for (uint32_t i = 0; i < NET_FRAME_SIZE; ++i) {",
        "    if (frame[i] > NET_INPUT_SPAN) {",
        "        return NET_ERROR_VALUE;",
        "    }",
        "}",
    ]
    step = text.runtime(
        "step.c",
        begin=_indented(source.begin),
        check=_indented(check if limited and not _holds_all(source) else []),
        steps=_indented(steps),
    )
    head = (
        f'/* {about} */\n#include <string.h>\n\n#include "weights.h"\n\n'
        "#ifdef NET_TRACE\n#define NET_SEEN(layer, sent) net_trace(net, layer, sent)\n"
        "#else\n#define NET_SEEN(layer, sent) (void)0\n#endif\n"
    )
    functions = [*source.functions, *layers, rule.function, step]
    # A network without spikes looks for none, and a compiler warns of what nobody calls.
    looks = any("net_lowest(" in function for function in functions)
    lowest = [text.runtime("lowest.c")] if looks else []
    return "\n".join([head, text.runtime("head.c"), *lowest, *functions])


def _holds_all(source: Source) -> bool:
    """Whether every value of the input's type is one that the network takes."""
    found = source.ranges.input
    assert found is not None
    return found.high - found.low == int(np.iinfo(input_type(found)[0]).max)


def _function(name: str, what: str, code: list[str]) -> str:
    frame = ", const net_input_t *frame" if _reads_frame(code) else ""
    head = f"/* {text.plain(what)} */\nstatic void {name}(net_t *net{frame})\n"
    return f"{head}{{\n{_indented(code)}}}\n"


def _reads_frame(code: list[str]) -> bool:
    return any("frame" in line for line in code)


def _indented(code: list[str]) -> str:
    return "".join(f"    {line}\n" for line in code)


def _trace(source: Source) -> str:
    """What tells spikes and potentials; nothing for a network that has none."""
    if not source.program.graph.populations:
        return ""
    lines = []
    for node in source.program.graph.populations:
        grid, number = Grid(node.shape), source.number[node.name]
        lines += [
            f"case {number}:",
            f"    net_put_layer({number}, sent, {grid.words}u);",
            f"    for (uint32_t i = 0; i < {grid.size}u; ++i) {{",
            f"        net_put((uint64_t)(int64_t)net->{source.label(node, 'v')}[i], 4);",
            "    }",
            "    break;",
        ]
    return text.runtime("trace.c", traces=_indented(lines))


def _selftest(source: Source, about: str) -> str:
    found = source.ranges.input
    ctype, base = input_type(found)
    span = None if ctype == "int32" or found is None else found.high - found.low
    rows = []
    for test in range(TESTS):
        one = expected.run(source.program, test, span, base)
        z = ", ".join(f"INT64_C({value})" for value in one.logits.ravel().tolist())
        rows.append(f"    {{{one.answer}u, {one.exit_step}u, {one.checksum}u, {{{z}}}}}")
    sums = []
    for node in source.program.graph.populations:
        v = f"net_state.{source.label(node, 'v')}[i]"
        sums += [
            "part = 0;",
            f"for (uint32_t i = 0; i < {Grid(node.shape).size}u; ++i) {{",
            f"    part += (uint32_t){v} * (2u * i + 1u);",
            "}",
            "total = total * 31u + part;",
        ]
    made_up = "(net_input_t)((int32_t)(bits % 16u) - 8)"
    return text.runtime(
        "selftest.c",
        about=about,
        tests=str(TESTS),
        expected=",\n".join(rows),
        made_up=made_up if span is None else f"(net_input_t)(bits % {span + 1}u)",
        checksums=_indented(["uint32_t part;", *sums] if sums else []),
    )
