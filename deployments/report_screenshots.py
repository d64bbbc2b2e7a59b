"""The screenshots of docs/report.md: `python -m deployments.report_screenshots --out OUT`.

It needs OUT/report.html, Chromium with its driver, and selenium.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deployments.screenshots import Browser, opened

READY = "return document.documentElement.dataset.ready === 'true'"
WIDE = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


def tour(browser: Browser) -> None:
    """Take the screenshots: at a glance, a row's why, the sliders, the map, dark, a phone."""
    show(browser, WIDE)
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
    show(browser, WIDE, scheme="dark")
    browser.shot("report-dark")
    show(browser, PHONE)
    browser.shot("report-phone")


def show(browser: Browser, window: dict[str, object], scheme: str = "light") -> None:
    """Open the page anew in a window of a size, in light or dark colours."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.driver.get(browser.url)
    browser.until(lambda: browser.driver.execute_script(READY), "the page is not ready")


def to(browser: Browser, section: str) -> None:
    """Scroll to a section."""
    browser.driver.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "document.getElementById(arguments[0]).scrollIntoView()", section,
    )  # fmt: skip


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
    except LookupError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(f"screenshots in {args.shots}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
