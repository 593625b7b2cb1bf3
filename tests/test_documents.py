"""What the documents say is what the records say."""

import datetime
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aegean.data import SplitSettings, from_arrays
from aegean.documents import render_pictures, update_documents
from aegean.errors import DataError
from aegean.evaluate.records import RunRecord, read_records
from aegean.models import AAE, AAEConfig, PixelGAN, PixelGANConfig
from aegean.nn import ConvEncoderConfig, PixelCNNConfig
from aegean.priors import Categorical
from aegean.recipes import get, names
from aegean.report import ImageRow, ReportContent
from aegean.report.png import save_pictures
from aegean.reproduce import outdated
from aegean.train import TrainConfig, Trainer

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs"]

pytestmark = pytest.mark.skipif(not (ROOT / "results").is_dir(), reason="the tests run outside a checkout")


def test_every_table_is_what_the_records_give() -> None:
    assert update_documents(DOCUMENTS, ROOT / "results", write=False) == [], "run: make tables"


def test_every_record_is_of_a_recipe_and_of_a_commit() -> None:
    records = read_records(ROOT / "results")
    assert records
    for record in records:
        assert record.recipe in names()
        assert re.fullmatch(r"[0-9a-f]{7,}", record.commit), f"{record.recipe}, seed {record.seed}: {record.commit!r}"


def test_every_record_is_of_the_settings_that_its_recipe_has_now() -> None:
    for record in read_records(ROOT / "results"):
        assert outdated(record, get(record.recipe)) == [], f"{record.recipe}, seed {record.seed}"


def test_every_picture_beside_the_records_is_in_a_document() -> None:
    texts = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for path in (ROOT / "results").glob("*/seed-*/*.png"):
        assert f"results/{path.relative_to(ROOT / 'results').as_posix()})" in texts, path


@pytest.mark.parametrize(
    ("raw", "message"),
    [(None, "cannot be read"), (b"caf\xe9", "not a text in UTF-8"), (bytes(10_000_001), "larger than")],
)
def test_a_document_that_is_no_text_is_one_clear_error(raw: bytes | None, message: str, tmp_path: Path) -> None:
    if raw is not None:
        (tmp_path / "a.md").write_bytes(raw)
    with pytest.raises(DataError, match=rf"a\.md: {message}"):
        update_documents([tmp_path / "a.md"], tmp_path)


def test_other_line_ends_are_no_change(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_bytes(b"<!-- results:digits-pixelgan-100 -->\n<!-- /results -->\n")
    assert update_documents([document], ROOT / "results") == [document]
    document.write_bytes(document.read_bytes().replace(b"\n", b"\r\n"))
    assert update_documents([document], ROOT / "results") == []


RECORD = RunRecord(
    recipe="mine", kind="extended", seed=3, epochs=2, steps=1, minutes=1, hardware="", threads=1, python="", torch="",
    aegean="", commit="abc1234", metrics={"error": 1.0}, command="", date=datetime.date(2026, 1, 1),
)  # fmt: skip
MARKED = "before\n<!-- picture:mine/seed-3/samples -->\nold\n<!-- /picture -->\nafter\n"


def save(folder: Path, **other: str) -> Path:
    content = ReportContent(title="run", samples=[ImageRow("samples", torch.rand(4, 1, 8, 8))])
    source = {"Recipe": "mine", "Seed": "3", "Epochs": "2", "Commit": "abc1234"} | other
    return save_pictures(content, folder / "mine" / "seed-3", source)[0]


def test_a_place_for_a_picture_is_filled_with_it_and_its_caption(tmp_path: Path) -> None:
    assert render_pictures(MARKED, [RECORD], tmp_path, "../results") == MARKED  # there is none yet
    save(tmp_path)
    filled = render_pictures(MARKED, [RECORD], tmp_path, "../results")
    assert filled == (
        "before\n<!-- picture:mine/seed-3/samples -->\n![Samples](../results/mine/seed-3/samples.png)\n\n"
        "*New images that the model drew.* `mine`, seed 3, 2 epochs.\n<!-- /picture -->\nafter\n"
    )
    assert render_pictures(filled, [RECORD], tmp_path, "../results") == filled


@pytest.mark.parametrize("other", [{"Commit": "fff"}, {"Epochs": "1"}, {"Seed": "4"}, {"Recipe": "other"}])
def test_a_picture_of_another_run_than_the_one_on_record_is_refused(tmp_path: Path, other: dict[str, str]) -> None:
    save(tmp_path, **other)
    with pytest.raises(DataError, match="not of the run on record"):
        render_pictures(MARKED, [RECORD], tmp_path, "results")


@pytest.mark.parametrize(
    "text", [MARKED.replace("<!-- /picture -->", ""), MARKED.replace("seed-3", "seed 3"), MARKED + "<!-- /picture -->"]
)
def test_a_place_that_is_not_closed_or_misspelt_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="needs one"):
        render_pictures(text, [RECORD], tmp_path, "results")


def test_a_picture_without_a_record_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    with pytest.raises(DataError, match="not of the run on record"):
        render_pictures(MARKED, [], tmp_path, "results")
    path.write_bytes(b"text")
    with pytest.raises(DataError, match="not a PNG"):
        render_pictures(MARKED, [RECORD], tmp_path, "results")


def test_the_demo_beats_the_baselines_over_five_seeds() -> None:
    metrics = [record.metrics for record in read_records(ROOT / "results") if record.recipe == "digits-pixelgan-100"]
    assert len(metrics) >= 5
    means = {name: sum(values[name] for values in metrics) / len(metrics) for name in metrics[0]}
    assert means["error"] < min(
        value for name, value in means.items() if (name.endswith("_error") and "svm" in name) or "spreading" in name
    )


def test_links_inside_the_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    assert len(pages) > 15
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_adversarial_autoencoders_page_shows_code_that_runs() -> None:
    """Its second block: a prior and an encoder of one's own, on 8x8 images."""
    page = (ROOT / "docs" / "models" / "aae.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert "class Ring" in block
    images = np.random.default_rng(0).integers(0, 255, (120, 8, 8), dtype=np.uint8)
    names = {
        "torch": torch, "images": images, "AAE": AAE, "AAEConfig": AAEConfig, "SplitSettings": SplitSettings,
        "from_arrays": from_arrays, "Trainer": Trainer, "TrainConfig": TrainConfig,
    }  # fmt: skip
    exec(block, names)  # noqa: S102 - our own documentation
    assert names["new"].shape == (16, 1, 8, 8)  # type: ignore[attr-defined]


def test_the_pixelgans_page_shows_code_that_runs() -> None:
    """Its second block, with a model of two categories on 8x8 images."""
    page = (ROOT / "docs" / "models" / "pixelgan.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert "model.complete" in block
    config = PixelGANConfig(
        prior=Categorical(categories=2),
        encoder=ConvEncoderConfig(stages=((1, 3, 8),)),
        decoder=PixelCNNConfig(blocks=1, filter=(2, 3), first_filter=(2, 3), channels=8),
    )
    model = PixelGAN.create(config, (1, 8, 8)).eval()
    images = torch.rand(5, 1, 8, 8).round()
    names = {"torch": torch, "images": images, "run": SimpleNamespace(model=lambda: model)}
    with torch.no_grad():
        exec(block, names)  # noqa: S102 - our own documentation
    shapes = {name: tuple(names[name].shape) for name in ("z", "classes", "ones", "other", "nats", "completions")}
    assert shapes == {
        "z": (5, 2), "classes": (5,), "ones": (4, 1, 8, 8), "other": (5, 1, 8, 8), "nats": (5,),
        "completions": (5, 1, 8, 8),
    }  # fmt: skip
    assert torch.equal(names["completions"][:, :, :4], images[:, :, :4])
