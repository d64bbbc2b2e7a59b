"""The tour of the documentation in a real browser: `python -m deployments.screenshots`.

It needs a running `make server` and Chromium with its driver, headless or not, and selenium.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

DEPLOYMENT = "/deployments/deployment/"  # in addresses of pages, before its id
AGAIN = 30.0  # until a form that was not taken is sent again
SECONDS = 300.0  # for a page to show what it should, on a busy machine
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=1280,900",
)  # fmt: skip
ASK = """
const [url, body, done] = arguments;
const sent = body === null ? {} : {method: "POST", body: JSON.stringify(body),
                                   headers: {"Content-Type": "application/json"}};
fetch(url, sent).then(answer => answer.json()).then(done);
"""


@dataclass
class Shown:
    """What the tour saw."""

    stages: list[str]  # of the run that Quick run started
    summary: str  # the text of its artifact selection-summary
    custom: str  # the same of the run that the form started


class Browser:
    """A browser on the UI; `shots` is where screenshots go, if anywhere."""

    def __init__(self, driver: Any, url: str, shots: Path | None = None) -> None:
        self.driver, self.url, self.shots = driver, url.rstrip("/"), shots

    def until(self, true: Callable[[], T], message: str) -> T:
        """Wait until something is true, and return it; a page that is redrawn meanwhile is fine."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(
            self.driver, SECONDS, ignored_exceptions=[StaleElementReferenceException]
        )
        found: T = wait.until(lambda _: true(), message)
        return found

    def all(self, xpath: str) -> list[Any]:
        """Return the elements that are there now."""
        return list(self.driver.find_elements("xpath", xpath))

    def find(self, xpath: str) -> Any:
        """Wait for an element that is shown, and return it."""
        return self.until(
            lambda: next((e for e in self.all(xpath) if e.is_displayed()), None),
            f"not shown: {xpath}",
        )

    def press(self, xpath: str) -> None:
        """Wait for an element and click it."""
        from selenium.common.exceptions import ElementClickInterceptedException

        def pressed() -> bool:
            element = self.find(xpath)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            try:
                element.click()
            except ElementClickInterceptedException:  # by a message that will go away
                return False
            return True

        self.until(pressed, f"cannot be clicked: {xpath}")

    def open_tab(self, name: str, wanted: str) -> None:
        """Click a tab until it shows an element: a page that is still loading goes back to Logs."""
        tab = f"//*[@role='tab'][normalize-space()='{name}']"

        def shows() -> bool:
            if any(e.is_displayed() for e in self.all(wanted)):
                return True
            if self.find(tab).get_attribute("aria-selected") != "true":
                self.press(tab)
            return False

        self.until(shows, f"the tab {name} does not show {wanted}")

    def send(self, xpath: str) -> None:
        """Click the button of a form, and wait until the form was taken: then the button goes.

        A busy server may refuse a form, which stays then: it is sent again, as people do.
        """
        self.press(xpath)
        sent = time.monotonic()

        def taken() -> bool:
            nonlocal sent
            shown = [e for e in self.all(xpath) if e.is_displayed()]
            if shown and time.monotonic() - sent > AGAIN:
                self.driver.execute_script("arguments[0].click()", shown[0])
                sent = time.monotonic()
            return not shown

        self.until(taken, f"the form was not taken: {xpath} is still there")

    def fill(self, label: str, value: str) -> None:
        """Put a value into the field of the form that has a label."""
        field = self.find(f"//label[normalize-space()='{label}']/following::input[1]")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.send_keys("\ue009" + "a" + "\ue000")  # Control and a: all of it is replaced
        field.send_keys(value)

    def text(self) -> str:
        """Return all text of the page."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def answer(self, path: str, body: object = None) -> Any:
        """Ask the API that the page asks, by GET or, with a body, by POST; return its JSON."""
        return self.driver.execute_async_script(ASK, f"{self.url}/api{path}", body)

    def shot(self, name: str) -> None:
        """Take a screenshot."""
        if self.shots is not None:
            self.driver.save_screenshot(str(self.shots / f"{name}.png"))


@contextmanager
def opened(url: str, shots: Path | None = None) -> Iterator[Browser]:
    """Open a browser with a profile of its own while the block runs."""
    from selenium import webdriver

    chromium, driver = _programs()
    with tempfile.TemporaryDirectory(prefix="tour-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            yield Browser(made, url, shots)
        finally:
            made.quit()


def tour(browser: Browser) -> Shown:
    """Go the way of the documentation: Quick run, then Custom run; return what was seen."""
    browser.driver.get(browser.url)
    to_deployment(browser)
    before = runs(browser)
    browser.press(_button("Run"))
    browser.find(_entry("Quick run"))
    browser.shot("deployment")
    browser.press(_entry("Quick run"))
    browser.send("//*[@role='dialog']//button[@type='submit']")  # the form, filled in already
    open_new_run(browser, before)
    stages, summary = read_run(browser, shots=True)
    to_deployment(browser)
    before = runs(browser)
    browser.press(_button("Run"))
    browser.press(_entry("Custom run"))
    browser.find("//label[normalize-space()='Weights (Optional)']")
    browser.shot("form")
    browser.fill("Budget (Optional)", "25")
    browser.send(_button("Submit"))
    open_new_run(browser, before)
    _, custom = read_run(browser)
    return Shown(stages, summary, custom)


def to_deployment(browser: Browser) -> None:
    """Go to Deployments and open the deployment `select`."""
    browser.press("//a[normalize-space()='Deployments']")
    browser.press(f"//a[contains(@href, '{DEPLOYMENT}')][normalize-space()='select']")
    browser.find(_button("Run"))


def runs(browser: Browser) -> set[str]:
    """Return the ids of the runs of the deployment whose page is open."""
    shown = browser.driver.current_url.partition(DEPLOYMENT)[2].partition("?")[0]
    wanted = {"deployments": {"id": {"any_": [shown]}}}
    return {str(run["id"]) for run in browser.answer("/flow_runs/filter", wanted)}


def open_new_run(browser: Browser, before: set[str]) -> None:
    """Wait until the deployment has a new run and that is complete, and open it.

    The API is asked, not the page: one that is drawn again and again takes a core.
    """
    pages = browser.driver.current_url.partition(DEPLOYMENT)[0]
    new = browser.until(lambda: next(iter(runs(browser) - before), None), "no new run")
    browser.driver.get(f"{browser.url}/api/health")  # a page on which nothing moves

    def completed() -> bool:
        state = browser.answer(f"/flow_runs/{new}")["state"]
        if state["type"] in ("FAILED", "CRASHED", "CANCELLED"):
            raise RuntimeError(f"the run did not complete: {state}")
        return bool(state["type"] == "COMPLETED")

    browser.until(completed, "the run does not complete")
    browser.driver.get(f"{pages}/runs/flow-run/{new}")


def read_run(browser: Browser, *, shots: bool = False) -> tuple[list[str], str]:
    """Return the names of a run's tasks and its summary, as its page shows them."""
    run = browser.driver.current_url
    browser.open_tab("Task Runs", "//main//a[contains(@href, '/task-run/')]")
    named = [e.text for e in browser.all("//main//a[contains(@href, '/task-run/')]")]
    if shots:
        browser.shot("run")
    open_artifact(browser, "selection-rows")
    browser.find("//td | //*[@role='cell']")
    if shots:
        browser.shot("rows")
    browser.driver.get(run)
    open_artifact(browser, "selection-summary")
    browser.find("//h1[normalize-space()='Selection']")
    if shots:
        browser.shot("summary")
    return [name.rpartition("-")[0] for name in named], browser.text()


def open_artifact(browser: Browser, key: str) -> None:
    """Open the newest artifact of a key, from the page of a run."""
    link = f"//a[contains(@href, '/artifacts/key/{key}')]"
    browser.open_tab("Artifacts", link)
    browser.press(link)
    browser.press("//a[contains(@href, '/artifacts/artifact/')]")


def _button(name: str) -> str:
    return f"//button[normalize-space()='{name}']"


def _entry(name: str) -> str:
    return f"//*[@role='menuitem'][normalize-space()='{name}']"


def _programs() -> tuple[str, str]:
    """Return the browser and its driver; LookupError where one is absent."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        raise LookupError("chromium and chromedriver are not installed (Debian: apt-get install "
                          "chromium chromium-driver)")  # fmt: skip
    return chromium, driver


def main(argv: Sequence[str] | None = None) -> int:
    """Go the tour and write its screenshots; return the exit status."""
    made = argparse.ArgumentParser(prog="python -m deployments.screenshots", description=__doc__)
    made.add_argument("--url", default="http://127.0.0.1:4200", help="of the UI")
    made.add_argument("--shots", type=Path, default=Path("docs/images"), help="folder for them")
    args = made.parse_args(argv)
    args.shots.mkdir(parents=True, exist_ok=True)
    try:
        with opened(args.url, args.shots) as browser:
            shown = tour(browser)
    except LookupError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(f"stages: {', '.join(shown.stages)}\nscreenshots in {args.shots}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
