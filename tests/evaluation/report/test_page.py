"""The page in a real browser: it loads nothing, does what it offers, and takes names as text."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

import seenn_deploy as sd
from seenn_deploy.evaluation.report.page import figure
from seenn_deploy.ir.inputs import for_program

HOSTILE = "</script><script>window.taken=1</script><b>\"'&\u202e\x07 {{7*7}}"
CHARTS = ["graph", "heat_map", "exits", "front", "cost_models", "chip"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("chromium is not here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(program: sd.Program, run: sd.RunResult) -> Any:
    images = sd.example().images
    graph = sd.import_model(sd.example().network, T=4, check=False)
    integers = sd.compile(graph, precision="int8")
    few = for_program(integers, images).part(0, 2)
    placed = sd.run_placed(integers, sd.map_to_chip(integers, "loihi1"), few)
    verified = {"device": "mock", "samples": 2, "ok": True, "exact": True, "spikes_compared": 10,
                "spikes_ties": 0, "spikes_mismatches": 0, "wrong_logits": 0}  # fmt: skip
    return sd.report(run, program=program, images=images, placed=placed,
                     verified=[verified], command="seenn report run/")  # fmt: skip


def opened(browser: Browser, path: Path, **options: Any) -> tuple[Page, list[str]]:
    """The page, from its file and with the network off, and what it complained of."""
    page = browser.new_context(offline=True, accept_downloads=True, **options).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url)
            if not request.url.startswith(("file:", "data:", "blob:")) else None)  # fmt: skip
    page.goto(f"file://{path}")
    page.wait_for_function("window.drawn && document.querySelectorAll('.chart:empty').length === 0")
    return page, complaints


@pytest.fixture(scope="module")
def page(browser: Browser, report: Any, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.save(path)
    assert path.stat().st_size < 3e6
    page, complaints = opened(browser, path, viewport={"width": 1280, "height": 900})
    assert complaints == []
    return page


def rows(page: Page, table: str) -> list[list[str]]:
    return page.eval_on_selector_all(
        f"{table} tbody tr", "rows => rows.map(r => [...r.cells].map(c => c.textContent))"
    )


def downloaded(page: Page, name: str) -> str:
    with page.expect_download() as found:
        page.click(f"button[data-file='{name}']")
    return Path(found.value.path()).read_text(encoding="utf-8")


def test_every_chart_is_drawn(page: Page) -> None:
    for name in CHARTS:
        assert page.locator(f"#chart-{name} svg").count() == 1, name
    assert page.locator("#chart-graph .mark-symbol path").count() > 14


def test_layers_sort_and_filter(page: Page) -> None:
    before = rows(page, "#layer-table")
    page.click("#layer-table th button >> text=spikes")
    spikes = [
        float(row[_column(page, "spikes")].replace(",", "")) for row in rows(page, "#layer-table")
    ]
    assert spikes == sorted(spikes, reverse=True) and spikes != sorted(spikes)
    page.click("#layer-table th button >> text=spikes")
    assert page.locator("th[aria-sort=ascending]").count() == 1
    page.fill("#filter", "layer2")
    assert {row[0].split(".")[0] for row in rows(page, "#layer-table")} == {"layer2"}
    page.fill("#filter", "")
    assert sorted(rows(page, "#layer-table")) == sorted(before)


def _column(page: Page, name: str) -> int:
    heads = page.eval_on_selector_all("#layer-table th", "cells => cells.map(c => c.textContent)")
    return heads.index(name)


def test_pointing_at_a_point_tells_it(page: Page) -> None:
    page.locator("#chart-front .mark-symbol path").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    text = page.locator("#vg-tooltip-element").inner_text()
    assert "accuracy (%)" in text and "threshold" in text and "energy (uJ)" in text


def test_another_cost_model_changes_the_figures(page: Page, run: sd.RunResult) -> None:
    def card(name: str) -> str:
        return page.locator(f"#cards div:has(dt:text-is('{name}')) dd").first.inner_text()

    for model in ("memory", "paper"):
        page.select_option("#model", model)
        told = run.summary(model)
        assert card("energy per sample") == f"{figure(told['total_energy_uJ_per_sample'])} uJ"
    assert card("accuracy") == f"{figure(100 * told['accuracy'])} %"
    schedules = {row[0]: row[1] for row in rows(page, "#schedule-table")}
    gated = run.under("gated").summary()["total_energy_uJ_per_sample"]
    assert schedules["gated"] == figure(gated)
    assert schedules["pipelined"] == "the exit rule does not allow it"


def test_the_chip_tells_its_steps_and_links(page: Page, report: Any) -> None:
    chip = report.summary()["chip"]
    assert chip["work_unit"] == "us" and chip["run"]["samples"] == 2
    before = page.inner_html("#chart-chip")
    page.select_option("#core-value", "work")
    page.wait_for_function("before => document.querySelector('#chart-chip').innerHTML !== before",
                           arg=before)  # fmt: skip
    steps = rows(page, "#chip [aria-label='Hardware steps'] table")
    assert len(steps) == len(chip["run"]["hardware_steps"])
    busiest = chip["run"]["hardware_steps"][3]
    column, row, direction = busiest["busiest_link"]
    assert steps[3][7] == f"({column}, {row}) {direction}"
    assert steps[3][5] == figure(busiest["time_us"])


def test_downloads_hold_what_python_has(page: Page, run: sd.RunResult, report: Any) -> None:
    told = run.summary()
    layers = list(csv.DictReader(io.StringIO(downloaded(page, "layers.csv"))))
    for count in ("ac", "mac", "spikes", "resets"):
        key = f"{count}_per_sample"
        assert sum(float(row[key]) for row in layers) == pytest.approx(told[key])
    energy = sum(float(row["energy_uJ_paper"]) for row in layers)
    assert energy == pytest.approx(told["useful_energy_uJ_per_sample"])
    assert json.loads(downloaded(page, "report.json")) == report.summary()
    samples = list(csv.DictReader(io.StringIO(downloaded(page, "samples.csv"))))
    assert [int(row["exit_step"]) for row in samples] == run.exit_step.tolist()
    assert [int(row["prediction"]) for row in samples] == run.prediction.tolist()
    assert len(list(csv.DictReader(io.StringIO(downloaded(page, "steps.csv"))))) == 14 * 4


def test_every_number_on_the_page_is_in_its_data(page: Page, report: Any) -> None:
    known: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                collect(part)
        elif isinstance(value, int | float):
            known.update((figure(value), figure(100 * value)))

    collect(report.summary())
    ratio = report.summary()["run"]["summary"]["paper"]
    known.add(figure(ratio["dense_ann_energy_uJ"] / ratio["total_energy_uJ_per_sample"], 3))
    cells = page.eval_on_selector_all(
        "#costs td, #schedule-table td, #layer-table td, #cards dd",
        "c => c.map(x => x.textContent)",
    )
    shown = [
        n
        for cell in cells
        for n in re.findall(r"(?<![\w.])-?[\d,]*\.?\d+(?:e-?\d+)?(?![\w.])", cell)
    ]
    assert len(shown) > 150
    unknown = [n for n in shown if n not in known and n not in ("95", "3", "2")]
    assert unknown == []


def test_a_threshold_shows_who_leaves_late_and_wrong(page: Page, program: sd.Program) -> None:
    page.fill("#alpha", "600")
    page.dispatch_event("#alpha", "input")
    alone = sd.simulate(program.with_exit(sd.exits.Confidence(0.6)), sd.example().images)
    figures = page.inner_text("#alpha-figures")
    assert f"{figure(100 * float(alone.correct.mean()))} % right" in figures
    assert f"{figure(float(alone.exit_step.mean()))} timesteps" in figures
    wrong = np.flatnonzero(~alone.correct & (alone.exit_step < program.T))
    shown = page.eval_on_selector_all("#early-wrong img", "x => x.map(i => i.alt)")
    assert shown == [f"sample {i}" for i in wrong[:24]]
    assert page.locator("#late img").count() == (alone.exit_step == program.T).sum()


def test_a_fault_that_keeps_somebody_out_is_found_nowhere(browser: Browser, page: Page) -> None:
    for scheme in ("light", "dark"):
        seen, complaints = opened(browser, Path(page.url.removeprefix("file://")),
                                  color_scheme=scheme, bypass_csp=True)  # fmt: skip
        found = Axe().run(seen).response["violations"]
        serious = [v["id"] for v in found if v["impact"] in ("serious", "critical")]
        assert (serious, complaints) == ([], [])


def test_a_narrow_screen_needs_no_sideways_scrolling(browser: Browser, page: Page) -> None:
    narrow, complaints = opened(browser, Path(page.url.removeprefix("file://")),
                                viewport={"width": 400, "height": 800})  # fmt: skip
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 400
    assert complaints == []


def test_names_stay_text(browser: Browser, program, run, tmp_path: Path) -> None:
    layers = [f"{HOSTILE}{i}" for i in range(len(run.layers))]
    report = sd.report(replace(run, layers=layers), command=HOSTILE)
    names = {"title": HOSTILE, "banners": [HOSTILE], "class_names": [HOSTILE] * 10}
    report.values.update(names)
    report.save(tmp_path / "hostile.html")
    page, complaints = opened(browser, tmp_path / "hostile.html")
    assert complaints == []
    assert page.evaluate("window.taken") is None
    assert page.locator("b >> text=49").count() == 0
    assert "<script>" in page.inner_text("h1") and "{{7*7}}" in page.inner_text("h1")
    assert any("<script>" in row[0] for row in rows(page, "#layer-table"))
    downloads = list(csv.DictReader(io.StringIO(downloaded(page, "layers.csv"))))
    assert [row["layer"] for row in downloads] == layers


def test_two_runs_side_by_side(browser: Browser, program, run, tmp_path: Path) -> None:
    after = sd.simulate(program.with_exit(sd.exits.Confidence(0.4)), sd.example().images)
    report = sd.report(run, after, program=program, images=sd.example().images)
    report.save(tmp_path / "two.html")
    page, complaints = opened(browser, tmp_path / "two.html")
    assert complaints == []
    shown = {row[0]: row[1:] for row in rows(page, "#changes-table")}
    changes = report.summary()["comparison"]["changes"]
    assert shown["mean exit step"][2] == figure(changes["mean_exit_step"][0])
    assert page.locator("#chart-changes svg").count() == 1
    assert page.locator("#comparison td img").count() > 0
