"""The screenshots of docs/report.md: `python -m deployments.report_screenshots --out OUT`.

It needs OUT/report.html, Chromium with its driver, and selenium.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deployments.screenshots import Browser, opened

READY = "return document.documentElement.dataset.ready === 'true'"
WINDOW = {"width": 1100, "height": 800, "deviceScaleFactor": 1, "mobile": False}
SHOTS = ("report", "report-why", "report-sliders", "report-map")
COLOURS = 128  # of a picture: they are in the repository and must be small


def tour(browser: Browser) -> None:
    """Take the screenshots: at a glance, a row's why, the sliders, the map."""
    show(browser)
    browser.shot("report")
    to(browser, "rows")
    browser.driver.find_element("css selector", "#rows-table button.open").click()
    browser.shot("report-why")
    browser.driver.execute_script(
        "const e = document.querySelector(\"[data-number='0']\"); e.value = 0;"
        "e.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    to(browser, "reselection")
    browser.until(
        lambda: "come in" in browser.find("//*[@id='reselection-status']").text, "nothing changes"
    )
    browser.shot("report-sliders")
    to(browser, "map")
    browser.shot("report-map")


def show(browser: Browser) -> None:
    """Open the page in a window of a fixed size, in light colours."""
    features = [{"name": "prefers-color-scheme", "value": "light"}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", WINDOW)
    browser.driver.get(browser.url)
    browser.until(lambda: browser.driver.execute_script(READY), "the page is not ready")


def to(browser: Browser, section: str) -> None:
    """Scroll to a section."""
    browser.driver.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "document.getElementById(arguments[0]).scrollIntoView()", section,
    )  # fmt: skip


def shrink(picture: Path) -> None:
    """Write a picture with few colours."""
    from PIL import Image

    with Image.open(picture) as full:
        full.convert("RGB").quantize(COLOURS).save(picture, optimize=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Take the screenshots; return the exit status."""
    made = argparse.ArgumentParser(prog="python -m deployments.report_screenshots")
    made.add_argument("--out", type=Path, default=Path("out"), help="where report.html is")
    made.add_argument("--shots", type=Path, default=Path("docs/images"), help="folder for them")
    args = made.parse_args(argv)
    page = args.out / "report.html"
    if not page.exists():
        print(f"error: {page} does not exist; run flows.select --out {args.out}", file=sys.stderr)
        return 2
    args.shots.mkdir(parents=True, exist_ok=True)
    try:
        with opened(page.resolve().as_uri(), args.shots) as browser:
            tour(browser)
        for name in SHOTS:
            shrink(args.shots / f"{name}.png")
    except LookupError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(f"screenshots in {args.shots}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
