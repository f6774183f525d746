"""The page of a report: a template, its style and script, the charts' library and all data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from seenn_deploy.ir import charts

HERE = Path(__file__).parent


def render(values: dict[str, Any]) -> str:
    """Return one HTML document that loads nothing from anywhere.

    Everything that came from files of others is escaped by Jinja, in text and in the data alike.

    Parameters
    ----------
    values : dict
        JSON values of a report.

    Raises
    ------
    SeennError
        When the libraries are not installed.
    """
    charts.check()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["figure"] = figure
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # columns keep their order
    return environment.get_template("page.html").render(
        values=values,
        charts={name: charts.specification(name) for name in charts.CHARTS},
        library=library(),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def figure(value: Any, digits: int = 4) -> str:
    """Write a number with so many digits and separators of thousands; text as it is."""
    if value is None:
        return "unknown"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


@cache
def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, without an end tag in it."""
    import vl_convert

    # Inside a script element, only these characters could end it.
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return str(bundle).replace("</script", "<\\/script")
