"""The pages of the documentation: complete, and every link leads somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import seenn_deploy as sd
from seenn_deploy import exits

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("examples/*.md")])
FENCE = re.compile(r"^```.*?^```$", re.S | re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub and MkDocs make anchors of them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_the_reference_has_every_public_name() -> None:
    described = re.findall(r"^::: seenn_deploy\.(\S+)$", (DOCS / "reference.md").read_text(), re.M)
    names = {path.rpartition(".")[2] for path in described} | {
        path.partition(".")[0] for path in described
    }
    rules = {rule.title() for rule in exits.names()}
    assert names >= {*sd.__all__, *rules}


def test_the_support_tables_are_current() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "support.py"))["page"]()
    assert made == (DOCS / "support.md").read_text(), "run python tools/support.py"
    assert made.count("no: ") >= 4 and made.count("approx.: ") >= 3  # it can say other than yes


def test_pages_name_no_machine() -> None:
    for page in PAGES:
        found = re.search(r"\.\./shared|/work/|/home/|/root/", page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found and found.group()}"


def test_sections_that_the_code_cites_are_there() -> None:
    sections = re.findall(r"^## (\d+)\.", (DOCS / "design.md").read_text(), re.M)
    code = [path.read_text() for path in ROOT.glob("seenn_deploy/**/*.py")]
    cited = {n for text in code for n in re.findall(r"design(?:\.md)?,? section (\d+)", text)}
    assert cited and cited <= set(sections)
