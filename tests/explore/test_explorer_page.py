"""The explorer in a real browser: what a person does, and what they then see."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("websockets", reason="the extra dev brings it")

from aegean.explore import Explorer
from browser import CHROMIUM, Browser
from test_session import session_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chrome to open the page in")

PICTURE = "document.getElementById('picture').src"
NAME = "document.getElementById('chosen-name').textContent"
#: Where a code of two numbers stands in the window.
PLACE = "(([x, y]) => { const [a, b] = onScreen([x, y]), box = map.getBoundingClientRect(); return [a + box.left, b + box.top]; })"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def explored(kind: str) -> Explorer:
    server = Explorer(session_of(kind, n=30), "a <b>title</b>")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def visit(browser: Browser, server: Explorer) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.call("Page.navigate", url=server.url)
    browser.wait(
        f"document.readyState == 'complete' && typeof space == 'object' && {PICTURE}.startsWith('data:') && !busy"
    )


def stays_here(browser: Browser, server: Explorer) -> None:
    """No complaint in the console, and no request but to the explorer."""
    assert browser.complaints == []
    assert {url[: len(server.url)] for url in browser.requests} == {server.url}
    assert browser.evaluate("document.getElementById('status').textContent") == ""


def settled(browser: Browser) -> str:
    """The picture once no request is under way; it must be the one of the code that the page shows."""
    browser.wait("!busy")
    assert browser.evaluate("ask('decode', {code, seed}).then((found) => found.image)") == browser.evaluate(PICTURE)
    return str(browser.evaluate(PICTURE))


def test_a_person_moves_over_the_map_and_looks_at_an_image(browser: Browser, tmp_path: Path) -> None:
    with explored("aae-labels") as server:  # a code of two numbers
        visit(browser, server)
        assert browser.evaluate("document.querySelector('h1').textContent") == "a <b>title</b>"
        assert browser.evaluate("code") == pytest.approx(server.session.z[0].tolist())

        # Drag: the picture changes on the way, the code follows the pointer, and requests do not pile up.
        before = settled(browser)
        low, high = browser.evaluate(
            "[space.view.middle.map((v) => v - space.view.half / 2), space.view.middle.map((v) => v + space.view.half / 2)]"
        )
        (x, y), (to_x, to_y) = (browser.evaluate(f"{PLACE}({place})") for place in (low, high))
        browser.mouse("mousePressed", x, y)
        settled(browser)
        pictures = {before, settled(browser)}
        for step in range(1, 41):
            browser.mouse("mouseMoved", x + (to_x - x) * step / 40, y + (to_y - y) * step / 40)
            pictures.add(browser.evaluate(PICTURE))
        pictures.add(settled(browser))
        browser.mouse("mouseReleased", to_x, to_y)
        assert len(pictures) >= 3
        assert browser.evaluate("code") == pytest.approx(high, abs=server.session.describe()["view"]["half"] / 50)
        assert len([url for url in browser.requests if url.endswith("/decode")]) <= 45

        # Press a point: its code, its reconstruction, its nearest neighbours.
        x, y = browser.evaluate(f"{PLACE}(space.points[5])")
        browser.mouse("mousePressed", x, y)
        browser.mouse("mouseReleased", x, y)
        chosen = browser.wait("!busy && !waiting && chosen !== 0 && chosen !== null ? String(chosen) : ''")
        found = server.session.look(int(chosen), 5)
        assert browser.evaluate("code") == found["code"]
        assert settled(browser) == found["reconstruction"]
        assert browser.evaluate("document.getElementById('original').src") == found["image"]
        shown = browser.evaluate("[...document.querySelectorAll('#neighbours img')].map((image) => image.src)")
        assert shown == [near["image"] for near in found["neighbours"]]
        words = browser.evaluate("document.getElementById('neighbours').innerText")
        assert f"{found['neighbours'][0]['distance']:.2f}" in words

        # Press a thumbnail, then a neighbour.
        browser.evaluate("document.querySelectorAll('#thumbnails button')[3].click()")
        browser.wait("!busy && chosen == 3")
        browser.evaluate("document.querySelector('#neighbours button').click()")
        browser.wait(f"!busy && chosen == {server.session.look(3, 0)['neighbours'][0]['index']}")

        # The keyboard does what the pointer does.
        browser.evaluate("map.focus()")
        before, place = settled(browser), browser.evaluate("place()")
        for _ in range(5):
            browser.press("ArrowRight")
        assert browser.evaluate("place()[0]") > place[0]
        assert browser.evaluate("place()[1]") == pytest.approx(place[1])
        assert settled(browser) != before
        browser.press("Enter")
        browser.wait("!busy && Math.hypot(...space.points[chosen].map((v, k) => v - place()[k])) < 1e-3")
        stays_here(browser, server)
        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000
        server.shutdown()


def test_a_person_picks_a_class_and_drags_a_style(browser: Browser) -> None:
    with explored("aae-classified") as server:
        visit(browser, server)
        pictures = [settled(browser)]
        for k in (2, 1):
            browser.evaluate(f"document.getElementById('category-0-{k}').click()")
            pictures.append(settled(browser))
            assert browser.evaluate("code.slice(0, 3)") == [float(k == one) for one in range(3)]
        browser.evaluate(
            "{ const s = document.getElementById('slider-1'); s.value = s.max; s.dispatchEvent(new Event('input')); }"
        )
        pictures.append(settled(browser))
        assert browser.evaluate("code[4]") == pytest.approx(server.session.describe()["axes"][1]["high"])
        assert len(set(pictures)) == 4

        # Samples of a class; a press on one shows its code.
        browser.evaluate("document.querySelectorAll('#sample-buttons button')[3].click()")
        browser.wait("document.querySelectorAll('#samples img').length == 12")
        browser.evaluate("document.querySelectorAll('#samples button')[4].click()")
        assert settled(browser) == browser.evaluate("document.querySelectorAll('#samples img')[4].src")
        assert browser.evaluate("code.slice(0, 3)") == [0, 0, 1]
        stays_here(browser, server)
        server.shutdown()


def test_categories_alone_are_mixed_between_their_corners_and_noise_can_be_renewed(browser: Browser) -> None:
    with explored("pixelgan-categorical") as server:
        visit(browser, server)
        for corner, expected in (("space.corners[2]", [0, 0, 1]), ("[0, 0]", [1 / 3, 1 / 3, 1 / 3])):
            x, y = browser.evaluate(f"{PLACE}({corner})")
            browser.mouse("mousePressed", x, y)
            assert browser.evaluate("code") == pytest.approx(expected, abs=0.02)
            browser.mouse("mouseMoved", x + 30, y)  # moved: no point is chosen
            browser.mouse("mouseMoved", x, y)
            browser.mouse("mouseReleased", x, y)
        before = settled(browser)
        browser.evaluate("document.getElementById('renew').click()")
        assert settled(browser) != before
        stays_here(browser, server)
        server.shutdown()


def test_a_model_without_encoder_says_so(browser: Browser) -> None:
    with explored("gan") as server:
        visit(browser, server)
        assert "no encoder" in browser.evaluate("document.body.innerText")
        assert browser.evaluate("document.getElementById('gallery').hidden && document.getElementById('chosen').hidden")
        assert browser.evaluate("document.querySelectorAll('#sliders input').length") == 3
        before = settled(browser)
        browser.evaluate("document.querySelector('#sample-buttons button').click()")
        browser.wait("document.querySelectorAll('#samples button').length == 12")
        browser.evaluate("document.querySelector('#samples button').click()")
        assert settled(browser) != before
        stays_here(browser, server)
        server.shutdown()


def test_a_person_is_told_that_the_explorer_has_ended(browser: Browser) -> None:
    with explored("aae") as server:
        visit(browser, server)
        server.shutdown()
    browser.evaluate("code = code.map((z) => z + 1), show()")
    browser.wait("!busy")
    # A connection that is still open may be answered once more; a new one is not.
    browser.evaluate("fetch = () => Promise.reject(new TypeError('closed')), show()")
    assert "has ended" in browser.wait("document.getElementById('status').textContent")


def test_the_page_fits_a_phone(browser: Browser) -> None:
    with explored("aae-classified") as server:
        browser.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
        visit(browser, server)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
        browser.call("Emulation.clearDeviceMetricsOverride")
        server.shutdown()
