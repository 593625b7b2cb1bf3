"""The report in a real browser: it shows itself, complains of nothing and asks nobody for anything."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aegean.evaluate import evaluate_classification
from aegean.plots import thumbnail_map
from aegean.report import (
    AdversaryHealth,
    Cluster,
    Codes,
    ImageRow,
    Mistakes,
    Proposals,
    ReportContent,
    Technical,
    render_report,
)
from browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chrome to open the page in")

LONG = "a-class-with-a-very-long-name-that-no-line-of-a-phone-can-hold"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything that could be too wide: long names, many classes, a map, a long configuration."""
    images = np.random.default_rng(0).random((40, 1, 28, 28), dtype=np.float32)
    labels = np.arange(40) % 12
    predicted = np.where(np.arange(40) < 5, 0, labels)
    names = [f"{LONG}/<img src=x onerror=alert(1)>{index}.png" for index in range(40)]
    losses = [(epoch, 1.386) for epoch in range(1, 9)]
    content = ReportContent(
        title="Classes of 40 images",
        class_names=[f"{LONG}-{k}" for k in range(12)],
        findings=["35 of 40 images whose label was hidden were labelled correctly."],
        classification=evaluate_classification(labels, predicted, 12, np.full(40, 0.9)),
        clusters=[Cluster(k, images[:10], f"{LONG}-{k}", 10) for k in range(3)],
        samples=[ImageRow(LONG, images[:10])],
        mistakes=Mistakes(images[:5], labels[:5], predicted[:5], names[:5], np.full(5, 0.5)),
        proposals=Proposals(images[:6], [LONG] * 6, np.full(6, 0.4), names[:6]),
        map=thumbnail_map(np.random.default_rng(1).normal(size=(40, 2)), images),
        codes=Codes(np.random.default_rng(1).normal(size=(40, 2)), labels),
        curves={"reconstruct": losses},
        adversaries=[AdversaryHealth(name="categories", discriminator_loss=losses)],
        technical=Technical(configuration="key: " + "x" * 500, reasons=["Because of " + "y" * 200], warnings=["Look."]),
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_report(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, page: Path) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Page.navigate", url=page.as_uri())
        opened.wait("document.readyState === 'complete' && document.querySelectorAll('img').length > 10")
        yield opened


def test_every_picture_is_shown_and_nothing_is_asked_for(browser: Browser, page: Path) -> None:
    assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert set(browser.requests) <= {page.as_uri()}
    assert browser.complaints == []


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(252, 251, 247)"), ("dark", "rgb(16, 23, 29)")])
def test_it_follows_the_readers_light_or_dark(browser: Browser, scheme: str, paper: str) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    assert browser.evaluate("getComputedStyle(document.documentElement).backgroundColor") == paper


@pytest.mark.parametrize("width", [360, 400, 1100])
def test_nothing_is_wider_than_the_window(browser: Browser, width: int) -> None:
    """What is wide, such as a confusion matrix, scrolls by itself; the technical part, too, when it is opened."""
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    for opened in ("false", "true"):
        browser.evaluate(f"document.querySelector('details').open = {opened}")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_words_come_first_and_technical_things_are_folded(browser: Browser) -> None:
    browser.evaluate("document.querySelector('details').open = false")
    order = browser.evaluate(
        "['.lead', 'section img', 'details'].map(name => document.querySelector(name).getBoundingClientRect().top)"
    )
    assert order == sorted(order)
    assert not browser.evaluate("document.querySelector('.charts').checkVisibility()")
    browser.evaluate("document.querySelector('details').open = true")
    assert browser.evaluate("document.querySelector('.charts').checkVisibility()")
