import base64
import dataclasses
import hashlib
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from aegean.errors import DataError
from aegean.evaluate import Classification, evaluate_classification, evaluate_clustering
from aegean.report import (
    AdversaryHealth,
    Cluster,
    Codes,
    Figure,
    ImageRow,
    Mistakes,
    Proposals,
    Reconstructions,
    ReportContent,
    Technical,
    render_report,
)
from aegean.report.words import error_interval, lead

EVIL = "<img src=x onerror=alert(1)>"
VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and all text; fails where an element is not closed properly."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "tr", "table"}:
            self.text.append(data)

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def headings(html):
    return re.findall(r"<h2>(.*?)</h2>", html)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return (data.images / 16).astype(np.float32)[:360, None], data.target[:360]


@pytest.fixture(scope="module")
def content(digits):
    x, y = digits
    predicted = y.copy()
    wrong = np.flatnonzero(y == 9)[:9]
    predicted[wrong] = 4
    predicted[np.flatnonzero(y == 8)[:5]] = 1
    q = np.eye(12)[np.where(np.arange(360) % 30, y, 10)]
    losses = [(epoch, 1.386 - 0.01 * epoch) for epoch in range(1, 31)]
    return ReportContent(
        title="Digits",
        subtitle="PixelGAN autoencoder, seed 0",
        class_names=[str(digit) for digit in range(10)],
        labels=(100, 1437),
        sentences=["Training was short."],
        classification=evaluate_classification(y, predicted, 10, np.full(360, 0.9)),
        clustering=evaluate_clustering(q, y, q, y),
        baselines={"label spreading": 3.6, "SVM": 7.1},
        samples=[ImageRow(str(digit), torch.tensor(x[y == digit][:10])) for digit in range(10)],
        figures=[
            Figure("The manifold", "Row by row.", [ImageRow("", x[:40])], 20),
            Figure("Cluster heads", "One row a cluster.", [ImageRow("a", x[:5]), ImageRow("b", x[:1])], 5),
        ],
        clusters=[Cluster(digit, x[y == digit][:8], str(digit), 36) for digit in range(10)] + [Cluster(11, x[:0])],
        reconstructions=Reconstructions(torch.tensor(x[:14]), x[1:15] * 0.5),
        mistakes=Mistakes(x[wrong], y[wrong], predicted[wrong], [f"{i}.png" for i in wrong], np.full(9, 0.53)),
        proposals=Proposals(x[:2], ["3", EVIL], np.array([0.4, 0.45]), [EVIL, "b.png"]),
        codes=Codes(x[:, 0, 2:4, 3], y),
        errors=[(1, 20.0), (2, 5.5)],
        curves={"reconstruct": [(1, 300.0), (2, 90.0)], "confuse": [(1, 0.7), (2, math.nan)]},
        adversaries=[
            AdversaryHealth(
                name="categories",
                discriminator_loss=losses,
                generator_loss=losses,
                real_accuracy=0.64,
                fake_accuracy=0.61,
            ),
            AdversaryHealth(name="style", discriminator_loss=[(1, 1.386), (2, 1.387)]),
        ],
        technical=Technical(
            command="aegean train digits --seed 0",
            configuration="name: digits\nseed: 0\n",
            versions={"torch": "2.13.0"},
            hardware="2 cores",
            minutes=4.3,
            warnings=["Two clusters have collapsed."],
        ),
    )


@pytest.fixture(scope="module")
def html(content):
    return render_report(content)


def test_the_page_is_well_formed_and_says_the_result_first(html):
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    start = page.words.index("346 of 360 held-out images were labelled correctly (3.9 % error).")
    assert page.words.index("Most mistakes: 9 taken for 4 (9 times) and 8 taken for 1 (5 times).") > start
    assert page.words.index("Training was short.") > start
    assert page.words.index("Compared with simple methods") > start
    assert "It learned from 1,437 images, 100 of them with a label." in page.words


def test_the_sections_come_in_order(html):
    assert headings(html) == [
        "Compared with simple methods",
        "What is taken for what",
        "Its mistakes",
        "Label these next",
        "The clusters it found",
        "What it draws",
        "The manifold",
        "Cluster heads",
        "Seen and redrawn",
        "The map of codes",
        "How it learned",
        "The discriminator’s health",  # noqa: RUF001
    ]
    assert html.index("The map of codes</h2>") < html.index("<details>") < html.index("How it learned</h2>")


def test_nothing_is_loaded_and_nothing_runs(html):
    assert not re.search(r"https?:|//[a-z]|@import|url\(|javascript:", html, re.IGNORECASE)
    page = Page(html)
    assert not page.all("script")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style"  # the security policy would ignore it
            if name in {"src", "href", "srcset", "action", "data"}:
                assert value.startswith("data:"), (tag, name, value[:40])


def test_the_security_policy_allows_this_style_sheet_and_images_and_nothing_else(html):
    page = Page(html)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_every_part_may_be_left_out(content):
    bare = render_report(ReportContent(title="Nothing yet"))
    page = Page(bare)
    assert headings(bare) == []
    assert page.words.count("Nothing yet") == 2
    assert not any(page.all(tag) for tag in ("section", "img", "svg", "table", "details"))
    parts = [field.name for field in dataclasses.fields(ReportContent) if field.name != "title"]
    assert len(parts) == 21
    for part in parts:
        Page(render_report(ReportContent(title="One part", **{part: getattr(content, part)})))
        empty = dataclasses.replace(content, **{part: ReportContent(title="").__getattribute__(part)})
        Page(render_report(empty))


def test_empty_parts_are_left_out(content, digits):
    x, y = digits
    page = render_report(
        ReportContent(
            title="Empty",
            samples=[],
            figures=[Figure("Nothing", "", [ImageRow("a", x[:0])], 5)],
            clusters=[],
            errors=[],
            curves={},
            baselines={},
            adversaries=[],
            technical=Technical(),
            mistakes=Mistakes(x[:0], y[:0], y[:0]),
            reconstructions=Reconstructions(x[:0], x[:0]),
        )
    )
    assert headings(page) == []


def test_all_text_is_escaped(content, digits):
    x, y = digits
    evil = dataclasses.replace(
        content,
        title=EVIL,
        subtitle=EVIL,
        class_names=[EVIL] * 10,
        sentences=[EVIL],
        baselines={EVIL: 1.0},
        samples=[ImageRow(EVIL, x[:2])],
        figures=[Figure(EVIL, EVIL, [ImageRow(EVIL, x[:count])], 2) for count in (2, 4)],
        codes=Codes(x[:5, 0, 2:4, 3], y[:5], EVIL, EVIL),
        clusters=[Cluster(0, x[:2], EVIL, 2)],
        mistakes=Mistakes(x[:1], [0], [1], [EVIL]),
        curves={EVIL: [(1, 2.0)], f"</svg>{EVIL}": [(1, math.nan)]},
        adversaries=[AdversaryHealth(name=EVIL, discriminator_loss=[(1, 1.0)])],
        technical=Technical(
            command=EVIL,
            configuration=EVIL,
            versions={EVIL: EVIL},
            hardware=EVIL,
            warnings=[f"</details>{EVIL}"],
        ),
    )
    html = render_report(evil)
    assert "<img src=x" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") > 30
    page = Page(html)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert EVIL in [image["alt"].removeprefix("2 generated images: ") for image in page.all("img")]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_attributes_cannot_be_left(digits):
    x, _ = digits
    html = render_report(ReportContent(title="t", samples=[ImageRow('" onload="alert(1)', x[:1])]))
    assert [set(image) for image in Page(html).all("img")] == [{"src", "width", "alt", "class"}]


def test_file_names_that_are_not_utf8_can_be_written(digits):
    x, _ = digits
    html = render_report(ReportContent(title="t", mistakes=Mistakes(x[:1], [0], [1], ["caf\udce9.png"])))
    assert b"caf?.png" in html.encode("utf-8")


def decode(image):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix("data:image/png;base64,")))))


def test_images_are_embedded_unchanged_with_words_for_them(digits):
    x, _ = digits
    html = render_report(ReportContent(title="t", samples=[ImageRow("three", x[:3]), ImageRow("one", x[3:4])]))
    first, second = Page(html).all("img")
    assert first["alt"] == "3 generated images: three"
    assert first["class"] == "pixelated"
    pixels = decode(first)
    assert pixels.shape == (8, 26, 2)  # grey and transparency, one pixel between the images
    for i in range(3):
        np.testing.assert_array_equal(pixels[:, 9 * i : 9 * i + 8, 0], np.rint(255 * x[i, 0]))
    assert decode(second).shape == pixels.shape  # or a narrow page would show it larger
    assert (decode(second)[:, 8:, 1] == 0).all()
    assert first["width"] == second["width"] == str(26 * 6)
    assert "image-rendering: pixelated" in html


def test_photographs_are_not_pixelated():
    html = render_report(ReportContent(title="t", samples=[ImageRow("face", np.full((2, 3, 64, 64), 0.3))]))
    (image,) = Page(html).all("img")
    assert "class" not in image
    assert image["width"] == str(64 + 5 + 64)


def test_originals_lie_above_their_reconstructions(digits):
    x, _ = digits
    html = render_report(ReportContent(title="t", reconstructions=Reconstructions(x[:12], 1 - x[:12])))
    first, second = map(decode, Page(html).all("img"))
    assert first.shape == second.shape == (17, 89, 2)
    np.testing.assert_array_equal(second[:8, 9:17, 0], np.rint(255 * x[11, 0]))
    np.testing.assert_array_equal(second[9:, 9:17, 0], np.rint(255 * (1 - x[11, 0])))
    with pytest.raises(DataError, match="give pairs"):
        render_report(ReportContent(title="t", reconstructions=Reconstructions(x[:12], x[:11])))


def test_the_panels_of_a_figure_lie_where_they_can_be_compared(digits):
    x, _ = digits

    def shown(panels, columns):
        html = render_report(ReportContent(title="t", figures=[Figure("Some", "", panels, columns)]))
        return html.partition("<main>")[2], Page(html).all("img")

    html, (image,) = shown([ImageRow("", x[:400])], 20)
    assert 'class="figure pairs"' in html
    assert image["alt"] == "360 images: Some"
    assert image["width"] == str(3 * (20 * 9 - 1))  # enlarged as far as there is room
    np.testing.assert_array_equal(decode(image)[9:17, 9:17, 0], np.rint(255 * x[21, 0]))

    html, rows = shown([ImageRow("one", x[:4]), ImageRow("two", x[:2])], 4)
    assert re.findall(r"<dt><bdi>(\w+)</bdi></dt>", html) == ["one", "two"]
    assert rows[0]["width"] == rows[1]["width"]  # or a narrow page would show the shorter row larger
    assert rows[1]["alt"] == "2 images: Some: two"

    html, grids = shown([ImageRow("one", x[:100]), ImageRow("two", x[:100])], 10)
    assert 'class="figure panels"' in html
    assert re.findall(r"<figcaption><bdi>(\w+)</bdi></figcaption>", html) == ["one", "two"]
    assert [int(image["width"]) for image in grids] == [2 * 89] * 2

    _, (image,) = shown([ImageRow("", np.zeros((40, 1, 28, 28)))], 20)
    assert image["width"] == str(20 * 30 - 2)
    assert "class" not in image  # narrow pages make it smaller, which pixels as they are would spoil


def test_the_confusion_matrix_marks_right_and_wrong(content, html):
    body = re.search(r'<table class="confusion">(.*?)</table>', html, re.DOTALL)[1]
    cells = re.findall(r'<td class="(\w+)">(\d+)</td>', body)
    assert [int(count) for _, count in cells] == content.classification.confusion.ravel().tolist()
    by_class = {(divmod(i, 10)): name for i, (name, _) in enumerate(cells)}
    assert by_class[0, 0] == "d5"
    assert by_class[9, 4] == "m5"
    assert by_class[8, 1] == "m3"
    assert by_class[0, 1] == "zero"
    for name in set(by_class.values()):
        assert f".{name} {{" in html
    assert "Hardest to recognise: 9, of which 73.5 % were found." in Page(html).words
    assert "differs from its accuracy by 6.1 points" in Page(html).words


def test_of_very_many_classes_the_most_frequent_mistakes_are_listed():
    confusion = np.eye(40, dtype=int) * 5
    confusion[3, 7] = 2
    html = render_report(ReportContent(title="t", classification=Classification(confusion)))
    assert 'class="confusion"' not in html
    assert "40 classes are too many for a matrix" in html
    assert "3 taken for 7 2" in re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize(
    ("baselines", "comment"),
    [
        ({"a": 5.0, "b": 7.0}, "No simple method does better with the same labels on the same images."),
        (
            {"a": 4.0, "b": 7.0},
            "No simple method does better with the same labels on the same images. As good: a.",
        ),
        ({"a": 3.0, "b": 7.0}, "With the same labels on the same images, a did better."),
        ({"a": 3.0, "b": 1.0}, "Every simple method does better with the same labels on the same images."),
    ],
)
def test_the_comparison_is_honest(baselines, comment):
    result = Classification(np.array([[48, 2], [2, 48]]))
    html = render_report(ReportContent(title="t", classification=result, baselines=baselines))
    assert f"<p>{comment}</p>" in html
    names = re.findall(r'<th scope="row"><bdi>(.*?)</bdi></th>\n<td><svg', html)
    assert names == sorted(["this model", *baselines], key=lambda name: (baselines.get(name, 4.0), name == "a"))
    assert "within 1.6 to 9.8\u202f% (95" in html


def test_the_interval_of_an_error_rate():
    assert error_interval(0, 100) == pytest.approx((0, 3.6995), abs=1e-3)  # z² / (n + z²)
    low, high = error_interval(50, 100)
    assert low + high == pytest.approx(100)
    assert high == pytest.approx(59.617, abs=1e-3)
    assert error_interval(100, 100)[1] == pytest.approx(100)


def test_clusters_are_described_with_their_number(content):
    only = ReportContent(title="t", clustering=content.clustering)
    assert "with K = 12" in lead(only)[0]
    assert "is empty" not in lead(only)[0]
    words = Page(render_report(only)).words
    assert "Clusters (K)" in words
    assert "1 of the 12 clusters are empty or nearly so." in words
    assert content.clustering.hungarian_error_percent is None
    assert "one to one" not in words


def test_the_error_by_epoch_comes_before_the_losses_and_axes_are_named(content, html):
    """Figure 7 of the PixelGAN paper: what a phase loses, and what it is for."""
    names = re.findall(r"<figcaption><bdi>(.*?)</bdi> <b>(.*?)</b>", html)
    assert names == [("error on validation images", "5.5"), ("reconstruct", "90"), ("confuse", "0.7")]
    spoken = [svg["aria-label"] for svg in Page(html).all("svg") if svg.get("class") == "curve"]
    assert spoken[0] == "error on validation images in percent: from 20 at epoch 1 to 5.5 at epoch 2"
    assert spoken[1].startswith("reconstruct in nats an image: from 300")
    assert "The share of validation images that were given the wrong class, and the loss" in Page(html).words
    without = Page(render_report(dataclasses.replace(content, errors=None)))
    assert "validation" not in without.words
    assert "The loss of each phase" in without.words


def test_discriminators_get_a_verdict(html):
    words = Page(html).words
    assert "categories: working" in words
    assert "recognised 64.0 % of the real samples and 61.0 % of the fake samples." in words
    assert "style: never started" in words
    assert "Its loss stayed at chance (1.39) all the time" in words


def test_a_diverged_run_has_a_report_too():
    adversary = AdversaryHealth(name="codes", discriminator_loss=[(1, math.nan)])
    html = render_report(ReportContent(title="t", curves={"a": [(1, math.inf)]}, adversaries=[adversary]))
    assert 'codes</bdi>: <span class="wrong">diverged' in html
    assert "no finite value" in html


def test_mistakes_need_a_class_each(digits):
    x, _ = digits
    with pytest.raises(DataError, match="3 mistakes"):
        render_report(ReportContent(title="t", mistakes=Mistakes(x[:3], [1, 2], [3, 4])))
