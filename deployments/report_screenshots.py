"""The screenshots of docs/report.md, of a selection and of an experiment.

`python -m deployments.report_screenshots --out OUT --experiment OUT` needs report.html in both,
Chromium with its driver, and selenium.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deployments.screenshots import Browser, opened

READY = "return document.documentElement.dataset.ready === 'true'"
WINDOW = {"width": 1100, "height": 800, "deviceScaleFactor": 1, "mobile": False}
SHOTS = ("report", "report-why", "report-sliders", "report-map")
EXPERIMENT_SHOTS = ("experiment", "experiment-overlaps")
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


def experiment_tour(browser: Browser) -> None:
    """Take the screenshots of an experiment: at a glance, which choices have the same rows."""
    show(browser)
    browser.shot("experiment")
    to(browser, "overlaps")
    browser.shot("experiment-overlaps")


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


def taken(
    page: Path, shots: Path, tour_of: Callable[[Browser], None], names: Sequence[str]
) -> None:
    """Take the screenshots of a page, each with few colours."""
    with opened(page.resolve().as_uri(), shots) as browser:
        tour_of(browser)
    for name in names:
        shrink(shots / f"{name}.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Take the screenshots; return the exit status."""
    made = argparse.ArgumentParser(prog="python -m deployments.report_screenshots")
    made.add_argument("--out", type=Path, default=Path("out"), help="where report.html is")
    made.add_argument(
        "--experiment", type=Path, default=Path("out/experiment-sample"),
        help="where report.html of an experiment is",
    )  # fmt: skip
    made.add_argument("--shots", type=Path, default=Path("docs/images"), help="folder for them")
    args = made.parse_args(argv)
    pages = {flow: out / "report.html" for flow, out in
             (("select", args.out), ("experiment", args.experiment))}  # fmt: skip
    for flow, page in pages.items():
        if not page.exists():
            told = f"run flows.{flow} --out {page.parent}"
            print(f"error: {page} does not exist; {told}", file=sys.stderr)
            return 2
    args.shots.mkdir(parents=True, exist_ok=True)
    try:
        taken(pages["select"], args.shots, tour, SHOTS)
        taken(pages["experiment"], args.shots, experiment_tour, EXPERIMENT_SHOTS)
    except LookupError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(f"screenshots in {args.shots}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
