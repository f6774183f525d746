"""Write docs/images/report_*.png: the page of a report at two widths, in Chromium.

    python tools/report_pictures.py

It needs Chromium (``apt-get install chromium``) and what ``make venv`` installs.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import seenn_deploy as sd

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "images"
NETWORK = ROOT / "examples" / "resnet20_T4_cifar10.pth"
IMAGES = ROOT / "examples" / "cifar10_200.npz"
# Width of the window, colours, and the pixels of its height that the picture keeps.
VIEWS = ((1280, "light", 3300), (400, "dark", 1800))


def main() -> None:
    """Make a report of the shipped network, and photograph it."""
    program = sd.compile(sd.import_model(NETWORK, T=4), sd.exits.Confidence(0.9))
    report = sd.report(program, images=IMAGES, command="seenn report build/ --data images.npz")
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "report.html"
        report.save(page_file)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for width, scheme, height in VIEWS:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
            )
            page = context.new_page()
            page.goto(f"file://{page_file}")
            page.wait_for_timeout(2000)
            whole = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            shown = whole.crop((0, 0, width, min(height, whole.height)))
            shown.quantize(128).save(OUT / f"report_{width}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
