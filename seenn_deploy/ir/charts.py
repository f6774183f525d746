"""The charts of reports and notebooks, as Vega-Lite specifications whose data come by name.

Each function describes one picture and holds no number: a page draws it again with other rows when
a reader chooses another cost model, and a notebook draws it once. Altair checks what stands here
against Vega-Lite's schema (https://altair-viz.github.io).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias

from seenn_deploy.errors import SeennError

Chart: TypeAlias = Any  # a chart of Altair, which need not be installed
# Pixels of a row's line, of charts with a row for each layer, model, or row of cores.
ROWS = {"graph": 26, "heat_map": 22, "cost_models": 30, "chip": 22, "changes": 26, "verified": 22}
WIDTH = 560  # pixels of a picture that cannot follow its page
# Okabe and Ito's colours, which people who see few colours tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def graph() -> Chart:
    """Draw the layers from top to bottom, coloured by `value`; what skips layers as arcs.

    Data: ``nodes`` with layer, y, value; ``arcs`` with arc, order, x, y.
    """
    import altair as alt

    y = alt.Y("y:Q", axis=None, scale=alt.Scale(reverse=True, nice=False, padding=14))
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-3, 5]))
    arcs = (
        alt.Chart(alt.NamedData("arcs"))
        .mark_line(interpolate="basis", strokeWidth=1.5, opacity=0.6)
        .encode(x=x, y=y, detail="arc:N", order="order:Q")
    )
    nodes = (
        alt.Chart(alt.NamedData("nodes"))
        .mark_point(size=170, filled=True, opacity=1, stroke="black", strokeWidth=0.5)
        .encode(
            x=x,
            y=y,
            color=alt.Color("value:Q", title=None, scale=alt.Scale(scheme="viridis")),
            tooltip=[
                alt.Tooltip("layer:N"),
                alt.Tooltip("kind:N"),
                alt.Tooltip("value:Q", format=".4~g"),
            ],
        )
    )
    names = (
        alt.Chart(alt.NamedData("nodes"))
        .mark_text(align="left", dx=14, fontSize=11, limit=260)
        .encode(x=x, y=y, text="label:N")
    )
    return alt.layer(arcs, nodes, names).properties(
        width="container", description="The network's layers from input to readout"
    )


def heat_map() -> Chart:
    """Draw one square per layer and timestep. Data: ``steps`` with layer, t, value."""
    import altair as alt

    return (
        alt.Chart(alt.NamedData("steps"))
        .mark_rect()
        .encode(
            x=alt.X("t:O", title="timestep t", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(labelLimit=170)),
            color=alt.Color("value:Q", title=None, scale=alt.Scale(scheme="viridis")),
            tooltip=[
                alt.Tooltip("layer:N"),
                alt.Tooltip("t:O"),
                alt.Tooltip("value:Q", format=".5~g"),
            ],
        )
        .properties(width="container", description="Activity by layer and timestep")
    )


def exits() -> Chart:
    """Draw how many samples leave at each timestep. Data: ``exits`` with t, samples, what."""
    import altair as alt

    return (
        alt.Chart(alt.NamedData("exits"))
        .mark_bar()
        .encode(
            x=alt.X("t:O", title="exit at timestep t", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("samples:Q", title="samples"),
            color=alt.Color("what:N", title=None, scale=_colours(alt), legend=_above(alt)),
            tooltip=[alt.Tooltip("t:O"), alt.Tooltip("what:N"), alt.Tooltip("samples:Q")],
        )
        .properties(width="container", height=200, description="Samples by exit timestep")
    )


def front() -> Chart:
    """Draw accuracy over energy or steps, one line per exit rule.

    Data: ``points`` with rule, threshold, accuracy, steps, cost; ``here``, the run's own point.
    """
    import altair as alt

    x = alt.X(
        "cost:Q", title="energy per sample (uJ)", scale=alt.Scale(zero=False, nice=False, padding=8)
    )
    y = alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False))
    colour = alt.Color("rule:N", title=None, scale=_colours(alt), legend=_above(alt))
    tips = [
        alt.Tooltip("rule:N"),
        alt.Tooltip("threshold:Q", format=".5~g"),
        alt.Tooltip("accuracy:Q", format=".2f", title="accuracy (%)"),
        alt.Tooltip("steps:Q", format=".3f", title="mean exit step"),
        alt.Tooltip("cost:Q", format=".4~g", title="energy (uJ)"),
    ]
    base = alt.Chart(alt.NamedData("points"))
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, order="steps:Q")
    points = base.mark_point(filled=True, size=28).encode(x=x, y=y, color=colour, tooltip=tips)
    here = (
        alt.Chart(alt.NamedData("here"))
        .mark_point(shape="diamond", size=220, strokeWidth=2.5, color="#D00000")
        .encode(x=x, y=y, tooltip=tips)
    )
    return alt.layer(lines, points, here).properties(
        width="container", height=320, description="Accuracy over energy for each exit rule"
    )


def cost_models() -> Chart:
    """Draw what a sample takes under each cost model. Data: ``costs`` with model, what, energy."""
    import altair as alt

    return (
        alt.Chart(alt.NamedData("costs"))
        .mark_point(filled=True, size=110)
        .encode(
            x=alt.X(
                "energy:Q", title="energy per sample (uJ), logarithmic", scale=alt.Scale(type="log")
            ),
            y=alt.Y("model:N", title=None, sort=None, axis=alt.Axis(labelLimit=170, grid=True)),
            color=alt.Color("what:N", title=None, scale=_colours(alt), legend=_above(alt)),
            shape=alt.Shape("what:N", title=None, legend=_above(alt)),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("what:N"),
                alt.Tooltip("energy:Q", format=".4~g", title="energy (uJ)"),
            ],
        )
        .properties(width="container", description="Energy by cost model")
    )


def chip() -> Chart:
    """Draw a chip's cores. Data: ``cores`` with x, y, layer, value."""
    import altair as alt

    return (
        alt.Chart(alt.NamedData("cores"))
        .mark_rect(stroke="white")
        .encode(
            x=alt.X("x:O", axis=None),
            y=alt.Y("y:O", axis=None),
            color=alt.Color("value:Q", title=None, scale=alt.Scale(scheme="viridis", domainMin=0)),
            tooltip=[
                alt.Tooltip("core:Q"),
                alt.Tooltip("layer:N"),
                alt.Tooltip("value:Q", format=".3~g"),
            ],
        )
        .properties(width="container", description="Cores of the first chip")
    )


def changes() -> Chart:
    """Draw each layer's energy in two runs. Data: ``changes`` with layer, run, energy."""
    import altair as alt

    return (
        alt.Chart(alt.NamedData("changes"))
        .mark_bar()
        .encode(
            x=alt.X("energy:Q", title="energy per sample (uJ)"),
            y=alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(labelLimit=170)),
            yOffset="run:N",
            color=alt.Color("run:N", title=None, scale=_colours(alt), legend=_above(alt)),
            tooltip=[
                alt.Tooltip("layer:N"),
                alt.Tooltip("run:N"),
                alt.Tooltip("energy:Q", format=".4~g"),
            ],
        )
        .properties(width="container", description="Energy by layer in both runs")
    )


def history() -> Chart:
    """Draw a training's figures over epochs. Data: ``epochs`` with epoch, t, value."""
    import altair as alt

    return (
        alt.Chart(alt.NamedData("epochs"))
        .mark_line(point=True)
        .encode(
            x=alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color("t:N", title=None, scale=_colours(alt), legend=_above(alt)),
            tooltip=[
                alt.Tooltip("epoch:Q"),
                alt.Tooltip("t:N"),
                alt.Tooltip("value:Q", format=".4~g"),
            ],
        )
        .properties(width="container", height=240, description="Figures over epochs")
    )


def verified() -> Chart:
    """Draw what became of each layer's spikes on a device. Data: ``spikes`` with layer, what, n."""
    import altair as alt

    return (
        alt.Chart(alt.NamedData("spikes"))
        .mark_bar()
        .encode(
            x=alt.X("n:Q", title="share of the spikes compared", stack="normalize"),
            y=alt.Y("layer:N", sort=None, title=None, axis=alt.Axis(labelLimit=170)),
            color=alt.Color("what:N", title=None, scale=_colours(alt), legend=_above(alt)),
            tooltip=[alt.Tooltip("layer:N"), alt.Tooltip("what:N"), alt.Tooltip("n:Q")],
        )
        .properties(width="container", description="Spikes of a device against the simulator")
    )


CHARTS: dict[str, Callable[[], Chart]] = {
    made.__name__: made
    for made in (graph, heat_map, exits, front, cost_models, chip, changes, history, verified)
}


def missing() -> list[str]:
    """Return the libraries of reports and pictures that are not installed."""
    return [name for name in ("altair", "vl_convert", "jinja2") if find_spec(name) is None]


def check() -> None:
    """Raise a SeennError when a library is missing, before there is work to lose."""
    if found := missing():
        raise SeennError(f"this needs {', '.join(found)}: pip install 'seenn-deploy[report]'")


def specification(name: str) -> dict[str, Any]:
    """Return a chart's specification without data.

    ``usermeta`` has the pixels of a row, by which a chart with a line per layer grows.
    """
    made: dict[str, Any] = CHARTS[name]().to_dict()
    return made | {"usermeta": {"row": ROWS.get(name, 0)}}


def svg(name: str, data: Mapping[str, Sequence[Mapping[str, Any]]], lines: int = 0) -> str:
    """Draw a chart as an SVG element.

    Parameters
    ----------
    name : str
        One of `CHARTS`.
    data : mapping of str to rows
        What its function names.
    lines : int
        Number of rows of a chart with a line per layer; 0 for other charts.

    Raises
    ------
    SeennError
        When the libraries are not installed.
    """
    check()
    import vl_convert

    whole = specification(name) | {"datasets": data, "width": WIDTH}
    if lines:
        whole["height"] = ROWS[name] * lines
    return str(vl_convert.vegalite_to_svg(whole))


def pictures(*charts: tuple[str, Mapping[str, Sequence[Mapping[str, Any]]], int]) -> str:
    """Draw charts for a notebook, one below the other; nothing where libraries are missing."""
    return "" if missing() else "".join(f"<div>{svg(*chart)}</div>" for chart in charts)


def _colours(alt: Any) -> Any:
    return alt.Scale(range=list(COLOURS))


def _above(alt: Any) -> Any:
    return alt.Legend(orient="top", columns=3)
