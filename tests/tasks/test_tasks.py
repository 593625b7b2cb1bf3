"""From a folder of images to clusters, classes and coordinates, by one call each."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from aegean.data.labels import read_labels
from aegean.errors import CheckpointError, ConfigError, DataError, OutputError
from aegean.run import Run
from aegean.tasks import classify, cluster, embed, finish, prepare, settings_of, write_report
from aegean.tasks.folds import predict_unseen

SMALL = {"train.precision": "float32", "model.decoder.widths": [32], "model.discriminator.widths": [32]}
N, LABELLED = 90, 30


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` (three kinds of digits, and one damaged file) and `labels.csv` of a third of them."""
    folder = tmp_path_factory.mktemp("home")
    digits = load_digits()
    chosen = np.flatnonzero(digits.target < 3)[:N]
    (folder / "photos" / "more").mkdir(parents=True)
    lines = ["file,label"]
    for index, place in enumerate(chosen):
        name = f"more/{index:03}.png" if index % 2 else f"=cmd{index:03}.png"
        Image.fromarray((digits.images[place] * 15.9).astype(np.uint8)).save(folder / "photos" / name)
        if index < LABELLED:
            lines.append(f"{name},{'abc'[digits.target[place]]}")
    (folder / "photos" / "damaged.png").write_bytes(b"nothing")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def classified(home: Path) -> Path:
    """A finished run of a classifier."""
    result = classify(
        home / "photos", home / "labels.csv", epochs=2, folds=2, next_labels=5, out=home / "run", overrides=SMALL
    )
    assert [path.name for path in result.files] == ["predictions.csv", "label-next.csv", "report.html"]
    return result.run.folder


def test_every_image_is_put_into_a_cluster(home: Path) -> None:
    result = cluster(home / "photos", 4, epochs=1, out=home / "clustered", sheets=True, folders=True, overrides=SMALL)
    rows = table(home / "clustered" / "clusters.csv")
    assert len(rows) == N
    assert {row["file"] for row in rows} >= {"more/001.png", "'=cmd000.png"}  # no formula
    assert all(0 <= int(row["cluster"]) < 4 and 0.2 < float(row["confidence"]) <= 1 for row in rows)
    sizes = {k: sum(int(row["cluster"]) == k for row in rows) for k in range(4)}
    for k, size in sizes.items():
        copies = list((home / "clustered" / "clusters").glob(f"cluster-{k}/*"))
        assert len(copies) == size
        assert (home / "clustered" / "sheets" / f"cluster-{k}.png").exists() == (size > 0)
    row = rows[-1]
    name = row["file"].removeprefix("'")
    copy = home / "clustered" / "clusters" / f"cluster-{row['cluster']}" / name.replace("/", "_")
    assert copy.read_bytes() == (home / "photos" / name).read_bytes()
    assert f"{N} images are in" in result.sentences[0]
    assert result.sentences[0] in (home / "clustered" / "report.html").read_text()
    labels = result.run.splits.train.labels
    assert (labels == -1).all()  # the subfolder "more" is a class, which the clusters must not have seen
    again = cluster(home / "photos", 4, epochs=1, out=home / "again", overrides=SMALL)
    assert table(again.run.folder / "clusters.csv") == rows


def test_every_image_gets_calibrated_probabilities(home: Path, classified: Path) -> None:
    rows = table(classified / "predictions.csv")
    assert len(rows) == N
    given = read_labels(home / "labels.csv")
    for row in rows:
        probabilities = {name: float(row[f"p({name})"]) for name in "abc"}
        assert sum(probabilities.values()) == pytest.approx(1, abs=2e-3)
        assert probabilities[row["label"]] == max(probabilities.values()) == float(row["confidence"])
        assert row["given"] == given.get(row["file"].removeprefix("'"), "")
    assert sum(bool(row["given"]) for row in rows) == LABELLED
    run = Run.open(classified)
    temperature = json.loads((classified / "calibration.json").read_text())["temperature"]
    assert run.temperature == temperature != 1
    page = (classified / "report.html").read_text()
    assert "Label these next" in page
    assert "images whose label was hidden were labelled correctly" in page


def test_the_error_is_estimated_on_labels_that_no_model_has_seen(classified: Path) -> None:
    """Every label is hidden once, and what is on disk is read, not trained again."""
    run = Run.open(classified)
    unseen = predict_unseen(run, 2, train=False)
    assert unseen is not None
    assert sorted(unseen.index.tolist()) == run.splits.labelled.tolist()
    assert (unseen.labels == run.splits.train.labels[unseen.index]).all()
    assert unseen.models == 2
    assert unseen.passes == 1
    assert predict_unseen(run, 3, train=False) is None  # another plan
    assert predict_unseen(run, 0) is None


def test_hidden_labels_do_not_reach_the_model_that_predicts_them(classified: Path, monkeypatch) -> None:
    run, seen = Run.open(classified), []
    (classified / "folds.json").rename(classified / "kept.json")

    def build(experiment, splits):
        seen.append(splits)
        raise KeyboardInterrupt

    monkeypatch.setattr("aegean.tasks.folds.build_trainer", build)
    with pytest.raises(KeyboardInterrupt):
        predict_unseen(run, 2)
    (classified / "kept.json").rename(classified / "folds.json")
    hidden = torch.tensor(json.loads((classified / "folds.json").read_text())["parts"][0]["index"])
    assert (seen[0].train.labels[hidden] == -1).all()
    assert len(seen[0].labelled) == LABELLED - len(hidden)


def test_labels_are_proposed_for_unlabelled_images(classified: Path) -> None:
    rows = table(classified / "label-next.csv")
    known = read_labels(classified / "labels.csv")
    assert len({row["file"] for row in rows}) == 5
    assert not {row["file"].removeprefix("'") for row in rows} & set(known)
    assert all(row["label"] == "" and row["guess"] in "abc" for row in rows)


def test_more_labels_go_on_from_the_weights(home: Path, classified: Path) -> None:
    before = Run.open(classified).model().state_dict()
    with pytest.raises(OutputError, match="these very labels"):
        prepare("classify", home / "photos", labels=[home / "labels.csv"], out=classified, overrides=SMALL)
    assert not (classified / "labels-2.csv").exists()
    folder = home / "rounds"
    shutil.copytree(classified, folder)
    text = (folder / "experiment.yaml").read_text().replace(str(classified), str(folder))
    (folder / "experiment.yaml").write_text(text)
    rows = table(folder / "label-next.csv")
    (home / "next.csv").write_text(
        "file,label\n" + "".join(f"{row['file'].removeprefix(chr(39))},{row['guess']}\n" for row in rows)
    )
    prepared = prepare("classify", home / "photos", labels=[home / "next.csv"], folds=0, out=folder, overrides=SMALL)
    assert len(prepared.splits.labelled) == LABELLED + 5
    assert any(f"with {LABELLED + 5} labels instead of {LABELLED}" in reason for reason in prepared.settings.reasons)
    with Run.open(folder).alone(), pytest.raises(OutputError, match="another process"):
        prepared.create()
    run = prepared.create()
    assert all(torch.equal(run.model().state_dict()[name], tensor) for name, tensor in before.items())
    assert (folder / "rounds" / "1" / "predictions.csv").is_file()
    with pytest.raises(OutputError, match="has not finished; go on with: aegean resume"):
        prepare("classify", home / "photos", labels=[home / "next.csv"], out=folder, overrides=SMALL)
    run.experiment = run.experiment.override({"train.epochs": 1})
    run.train()
    told: list[str] = []
    result = finish(run, lambda what, done, total: told.append(what))
    assert list(dict.fromkeys(told)) == ["predicting", "encoding", "drawing the report"]
    assert "the error was not estimated" in result.sentences[1]
    assert not (folder / "calibration.json").exists()  # the last round's says nothing of this model


def test_another_class_starts_anew(home: Path, classified: Path) -> None:
    folder = home / "anew"
    shutil.copytree(classified, folder)
    (home / "d.csv").write_text("file,label\nmore/089.png,d\n")
    prepared = prepare("classify", home / "photos", labels=[home / "d.csv"], out=folder, overrides=SMALL)
    assert prepared.splits.train.class_names == ("a", "b", "c", "d")
    assert any("classes are others than before" in reason for reason in prepared.settings.reasons)


def test_every_image_gets_coordinates_and_a_place_on_the_map(home: Path) -> None:
    overrides = SMALL | {"model.encoder.widths": [32]}
    result = embed(home / "photos", 3, epochs=1, out=home / "embedded", overrides=overrides)
    rows = table(home / "embedded" / "coordinates.csv")
    assert len(rows) == N
    assert set(rows[0]) == {"file", "z0", "z1", "z2"}
    with Image.open(home / "embedded" / "map.png") as image:
        assert max(image.size) > 300
    assert "differ most" in result.sentences[1]
    assert "The map" in (home / "embedded" / "report.html").read_text()
    (home / "embedded" / "report.html").unlink()
    told: list[tuple[str, int, int]] = []
    write_report(Run.open(home / "embedded"), advance=lambda *progress: told.append(progress))
    assert told[0] == ("encoding", N, N)
    assert told[-1][0] == "drawing the report"
    assert told[-1][1] == told[-1][2]
    assert "The map" in (home / "embedded" / "report.html").read_text()


def test_vectors_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    vectors = rng.normal(size=(60, 5)) + 4 * labels[:, None]
    np.savez(tmp_path / "cells.npz", vectors=vectors, labels=np.where(np.arange(60) < 20, labels, -1))
    small = {"model.encoder.widths": [16], "model.decoder.widths": [16], "model.discriminator.widths": [16]}
    result = classify(tmp_path / "cells.npz", epochs=1, folds=2, out=tmp_path / "k", overrides=small)
    assert "40 vectors without a label were given one of 2 classes" in result.sentences[-2]
    result = embed(tmp_path / "cells.npz", epochs=1, out=tmp_path / "e", overrides=small)
    assert (tmp_path / "e" / "map.svg").read_text().startswith("<svg xmlns")
    result = cluster(tmp_path / "cells.npz", 2, epochs=1, out=tmp_path / "c", sheets=True, overrides=small)
    assert "of the 20 with a label" in result.sentences[-1]
    with pytest.raises(ConfigError, match="leave the labels files out"):
        prepare("classify", tmp_path / "cells.npz", labels=[tmp_path / "labels.csv"], out=tmp_path / "x")
    with pytest.raises(ConfigError, match="leave --folders out"):
        prepare("cluster", tmp_path / "cells.npz", folders=True, out=tmp_path / "x")


def test_what_does_not_fit_is_said_before_training(home: Path, classified: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("file,label\nnone.png,a\n")
    with pytest.raises(DataError, match=r"'none.png' is not an image of the folder"):
        prepare("classify", home / "photos", labels=[tmp_path / "wrong.csv"], out=tmp_path / "x")
    (tmp_path / "one.csv").write_text("file,label\nmore/001.png,a\n")
    with pytest.raises(ConfigError, match="two classes"):
        prepare("classify", home / "photos", labels=[tmp_path / "one.csv"], out=tmp_path / "x")
    assert not (tmp_path / "x" / "labels.csv").exists()
    with pytest.raises(OutputError, match="another run already"):
        prepare("cluster", home / "photos", out=classified)


def test_a_damaged_calibration_is_an_error(classified: Path, tmp_path: Path) -> None:
    run = Run.open(classified)
    for text in ("{", '{"temperature": 0}', '{"temperature": "x"}', "{}", '{"temperature": NaN}'):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"calibration.json: damaged"):
            _ = Run(tmp_path, run.experiment).temperature


def test_what_a_run_is_for_is_kept(classified: Path) -> None:
    settings = settings_of(Run.open(classified))
    assert settings is not None
    assert (settings.task, settings.classes, settings.labelled) == ("classify", ("a", "b", "c"), LABELLED)
    assert settings.reasons


def test_the_users_own_files_are_not_overwritten(home: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(home / "labels.csv", own / "labels.csv")
    with pytest.raises(OutputError, match=r"labels.csv: exists already"):
        prepare("classify", home / "photos", labels=[own / "labels.csv"], epochs=1, out=own, overrides=SMALL)
    (own / "labels.csv").rename(own / "mine.csv")
    (own / "sheets").mkdir()
    with pytest.raises(OutputError, match="sheets: exists already"):
        prepare("cluster", home / "photos", epochs=1, out=own, sheets=True, overrides=SMALL)
    (own / "sheets").rename(own / "other")
    (own / "README.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"README.txt: exists already"):
        prepare("embed", home / "photos", epochs=1, out=own, overrides=SMALL).create()
    assert (own / "README.txt").read_text() == "mine"


def test_settings_that_do_not_fit_leave_the_last_round_as_it_was(home: Path, classified: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(classified, tmp_path / "run"))
    path = run / "experiment.yaml"  # its own table of labels
    path.write_text(path.read_text().replace(str(classified), str(run)))
    names = sorted(str(file) for file in run.rglob("*"))
    rows = (home / "labels.csv").read_text().splitlines()
    (tmp_path / "more.csv").write_text("\n".join([rows[0], *(f"{row.split(',')[0]},a" for row in rows[-3:])]) + "\n")
    new = prepare(
        "classify", home / "photos", labels=[tmp_path / "more.csv"], epochs=1, out=run,
        overrides={**SMALL, "train.device": "nosuch"},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="nosuch"):
        new.create()
    assert sorted(str(file) for file in run.rglob("*")) == names
    fresh = {"epochs": 1, "out": tmp_path / "fresh", "labels": [home / "labels.csv"]}
    with pytest.raises(ConfigError, match="nosuch"):
        prepare("classify", home / "photos", **fresh, overrides={**SMALL, "train.device": "nosuch"}).create()
    assert prepare("classify", home / "photos", **fresh, overrides=SMALL).folder == tmp_path / "fresh"


def test_a_class_whose_name_is_no_text_can_be_learnt_of(home: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number, file in enumerate(sorted((home / "photos" / "more").iterdir())[:20]):
        place = photos / (b"caf\xe9".decode("utf-8", "surrogateescape") if number % 2 else "tea")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    result = cluster(photos, 2, epochs=1, out=tmp_path / "run", overrides=SMALL)
    assert settings_of(Run.open(result.run.folder)).classes == ("caf\\xe9", "tea")  # type: ignore[union-attr]
    assert (tmp_path / "run" / "report.html").is_file()
