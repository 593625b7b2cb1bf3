"""Runs in folders: made once, gone on with, judged, and turned into a report."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aegean.build import build_trainer
from aegean.choose import with_epochs
from aegean.data import Splits
from aegean.data.stream import Batch, Stream
from aegean.errors import CheckpointError, ConfigError, DataError, OutputError, UnsupportedError
from aegean.models import VAEConfig
from aegean.models.consistency import Consistency
from aegean.nn import MLPConfig
from aegean.priors import Gaussian
from aegean.report.build import report_content, write_pictures, write_report
from aegean.reproduce import outdated, reproduce_seed
from aegean.run import Run, free_folder
from aegean.use import image_files, images_for
from conftest import small


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run.create(tmp_path_factory.mktemp("runs") / "run", small(), "aegean train small")
    assert run.train().ended == "finished"
    return run


def test_a_run_is_opened_with_what_it_was_made_with(trained: Run) -> None:
    again = Run.open(trained.folder)
    assert again.experiment == trained.experiment
    assert again.command == "aegean train small"
    assert again.model().config == trained.experiment.model
    assert [row["epoch"] for row in again.metrics()] == [1, 2]
    assert again.warnings() == []


def test_evaluation_is_kept_and_repeatable(trained: Run) -> None:
    results = trained.evaluate()
    assert set(results) == {"error", "calibration_error", "nats"}
    assert json.loads((trained.folder / "evaluation.json").read_text()) == results
    assert Run.open(trained.folder).evaluate() == results


def test_a_protocol_for_other_models_does_not_lose_the_usual_results(trained: Run) -> None:
    results = trained.evaluate()
    (trained.folder / "evaluation.json").unlink()
    with pytest.raises(UnsupportedError, match="'bits-back' is for implicit autoencoders"):
        trained.evaluate(protocols=("bits-back",))
    assert trained.evaluation() == results


def test_two_runs_in_one_folder_are_refused(trained: Run) -> None:
    before = (trained.folder / "experiment.yaml").read_bytes()
    with pytest.raises(OutputError, match="holds a run already"):
        Run.create(trained.folder, small(seed=5))
    assert (trained.folder / "experiment.yaml").read_bytes() == before


def test_what_does_not_fit_is_found_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 7 categories, the data has 10 classes"):
        Run.create(tmp_path / "run", small(**{"model.prior.categories": 7}))
    assert not (tmp_path / "run").exists()


def test_a_protocol_that_does_not_fit_is_found_before_a_folder_is_made(tmp_path: Path) -> None:
    asks_for_more = small(protocols=["code-match", "bits-back"])
    with pytest.raises(ConfigError, match=r"'bits-back' is for implicit autoencoders.* Take it out of protocols"):
        Run.create(tmp_path / "run", asks_for_more)
    assert not (tmp_path / "run").exists()


def test_a_place_where_no_record_can_be_written_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OutputError, match="results"):
        reproduce_seed(small(), 1, tmp_path / "runs", tmp_path / "results", "")
    assert not (tmp_path / "runs").exists()


def test_a_record_holds_the_settings_of_its_run_and_knows_when_the_recipe_has_others(tmp_path: Path) -> None:
    recipe = small()
    record = reproduce_seed(recipe, 3, tmp_path / "runs", tmp_path / "results", "")
    assert record.settings["seed"] == 3
    assert record.settings["train"] == recipe.train.to_dict()
    assert outdated(record, recipe) == []
    assert outdated(record, with_epochs(recipe, 7)) == []  # asked for by --epochs
    assert outdated(record, recipe.override({"train.batch_size": 7, "title": "other"})) == [
        f"train.batch_size: {recipe.train.batch_size}, now 7"
    ]
    assert isinstance(record.settings["model"], dict)
    assert outdated(record.model_copy(update={"settings": {}, "epochs": 0.5}), recipe) == []
    older = {key: value for key, value in record.settings["model"].items() if key != "input_noise"}
    assert outdated(record.model_copy(update={"settings": {"model": older}}), recipe) == []
    renamed = record.model_copy(update={"settings": {"model": older | {"noise": 0.1}}})
    assert outdated(renamed, recipe) == ["model.noise: 0.1, now gone"]


@pytest.mark.parametrize("width", [10**8, 9 * 10**18])
def test_networks_that_no_memory_holds_are_refused(tmp_path: Path, width: int) -> None:
    with pytest.raises(ConfigError, match="do not fit into memory"):
        Run.create(tmp_path / "run", small(**{"model.discriminator.widths": [width, width]}))
    assert not (tmp_path / "run").exists()


def test_images_of_another_scale_are_refused_before_training() -> None:
    """Streams of one's own, which hold 0 to 255 in place of 0 to 1."""

    class Unscaled(Stream):
        def batch(self, step: int, epoch: float | None = None, repeat: int = 0) -> Batch:
            batch = super().batch(step, epoch, repeat)
            return dataclasses.replace(batch, x=255 * batch.x)

    class UnscaledSplits(Splits):
        def streams(self, *arguments: int) -> dict[str, Stream]:
            return {
                name: Unscaled(stream.data, stream.batch_size, stream.seed, name)
                for name, stream in super().streams(*arguments).items()
            }

    experiment = small()
    splits = experiment.data.load()
    fields = {field.name: getattr(splits, field.name) for field in dataclasses.fields(splits)}
    build_trainer(experiment, splits)
    with pytest.raises(DataError, match=r"must be in \[0, 1\]; found 0 to 255; divide by 255"):
        build_trainer(experiment, UnscaledSplits(**fields))


def test_more_epochs_go_on_and_fewer_than_done_are_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", small(**{"train.epochs": 1}))
    run.train()
    run.extend(2)
    assert Run.open(run.folder).experiment.train.epochs == 2
    assert run.train().step == 2 * 6
    with pytest.raises(ConfigError, match="2 epochs are done already"):
        run.extend(1)


def test_a_folder_without_a_run_or_a_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run here"):
        Run.open(tmp_path)
    run = Run.create(tmp_path / "run", small())
    with pytest.raises(CheckpointError, match="no checkpoint yet; train it with: aegean resume"):
        run.model()


def test_a_disk_that_fills_up_while_training_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", small())
    run.train()
    kept = run.checkpoint()
    run.extend(3)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("aegean.files.os.fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        run.train()
    monkeypatch.undo()
    assert run.checkpoint() == kept
    assert run.train().ended == "finished"


def test_a_free_folder_is_found(tmp_path: Path) -> None:
    assert free_folder(tmp_path, "a").name == "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert free_folder(tmp_path, "a").name == "a-3"


def test_the_report_of_a_classifier_has_every_part(trained: Run) -> None:
    content = report_content(trained, {"SVM": 7.0})
    assert content.classification is not None
    assert content.classification.examples == len(trained.splits.test)
    assert content.clusters
    assert content.samples is not None
    assert [row.name for row in content.samples] == [str(k) for k in range(10)]
    assert content.reconstructions is not None
    assert content.mistakes is not None
    assert not content.errors  # there are no validation images
    assert content.curves is not None
    assert set(content.curves) == {"reconstruct", "discriminate", "confuse", "classify"}
    assert content.adversaries is not None
    assert [health.name for health in content.adversaries] == ["discriminate"]
    assert content.technical is not None
    assert content.technical.command == "aegean train small"
    page = write_report(trained, baselines={"SVM": 7.0}).read_text()
    assert "A small &lt;experiment&gt;" in page
    assert "<experiment>" not in page


def test_a_report_tells_how_far_it_is(trained: Run, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    content = report_content(trained, advance=lambda *progress: told.append(progress))
    total = told[0][2]
    assert total > 3  # predictions, reconstructions, codes, samples, ...
    assert told == [("drawing the report", done, total) for done in range(total + 1)]

    told.clear()
    paths = write_pictures(trained, tmp_path, advance=lambda *progress: told.append(progress))
    assert len(told) == total + 1
    assert {figure.title for figure in content.figures} == {"Drawn or copied?"}
    assert "drawn-or-copied.png" in {path.name for path in paths}


def test_the_report_of_phases_that_begin_late(tmp_path: Path) -> None:
    """With finer categories the games begin when these are merged, here after the first of two epochs."""
    finer = Consistency(finer=30, finer_epochs=1).to_dict()
    run = Run.create(tmp_path / "late", small(supervised=False, **{"train.epochs": 2, "model.consistency": finer}))
    run.train()
    content = report_content(run)
    assert content.curves is not None
    assert [epoch for epoch, _ in content.curves["agree"]] == [1, 2]
    assert [epoch for epoch, _ in content.curves["confuse"]] == [2]
    assert content.adversaries is not None
    assert [epoch for epoch, _ in content.adversaries[0].discriminator_loss] == [2]
    assert write_report(run).stat().st_size > 10_000


def test_the_report_of_clusters_and_of_continuous_codes(tmp_path: Path) -> None:
    clusters = Run.create(tmp_path / "clusters", small(supervised=False, **{"train.epochs": 1}))
    clusters.train()
    content = report_content(clusters)
    assert content.clustering is not None
    assert content.clustering.clusters == 12
    assert content.errors == [(1, clusters.metrics()[0]["validation/error"])]
    layers = MLPConfig(widths=(16,))
    model = VAEConfig(prior=Gaussian(dim=2), encoder=layers, decoder=layers)
    codes = Run.create(tmp_path / "codes", small(**{"model": model.to_dict(), "train.epochs": 1}))
    codes.train()
    content = report_content(codes)
    assert content.classification is None
    assert content.codes is not None
    assert content.codes.codes.shape == (len(codes.splits.test), 2)
    assert write_report(codes, tmp_path / "page.html").stat().st_size > 10_000


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two classes of ten images each, and one damaged file."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 100, (8, 8, 4), dtype=np.uint8) + 100 * k
            pixels[0, 0, 3] = 0  # one transparent corner
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name / f"{index}.png")
    (tmp_path / "photos" / "cat" / "damaged.png").write_bytes(b"nothing")
    return tmp_path / "photos"


def folder_run(photos: Path) -> Run:
    data = {"kind": "folder", "path": str(photos), "skip_damaged": True, "background": "black", "test": 0.25}
    return Run.create(photos.parent / "run", small(**{"data": data, "model.prior.categories": 2}))


def test_changed_data_is_noticed_and_classes_keep_their_names(photos: Path) -> None:
    run = folder_run(photos)
    assert Run.open(run.folder).splits.digest() == run.splits.digest()
    (photos / "ant").mkdir()
    Image.new("L", (8, 8)).save(photos / "ant" / "0.png")
    again = Run.open(run.folder)
    assert again.class_names == ("cat", "dog")
    with pytest.raises(DataError, match=r"run: the data .* has changed since the run was made.*train a new run"):
        _ = again.splits
    (run.folder / "data.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"data\.json: damaged"):
        _ = Run.open(run.folder).class_names


def test_a_digest_tells_labels_names_and_splits_apart(photos: Path) -> None:
    first = folder_run(photos).experiment.data
    digests = [first.override(change).load().digest() for change in ({}, {"split_seed": 1}, {"labels_per_class": 2})]
    (photos / "cat" / "0.png").rename(photos / "cat" / "00.png")
    digests.append(first.load().digest())
    assert len(set(digests)) == 4


def test_new_images_are_read_as_the_runs_own_were(photos: Path) -> None:
    run = folder_run(photos)
    model = build_trainer(run.experiment, run.splits).model
    found = images_for(run, model, photos)
    assert len(found) == 20  # without the damaged one
    assert found.images[:, :, 0, 0].max() == 0  # what is transparent is black
    single = image_files(run, model, [photos / "dog" / "3.png"])
    assert single[0, :, 0, 0].max() == 0


def test_a_run_that_holds_no_test_images_asks_for_some(photos: Path) -> None:
    data = {"kind": "folder", "path": str(photos), "skip_damaged": True, "test": 0}
    run = Run.create(photos.parent / "run", small(**{"data": data, "model.prior.categories": 2}))
    with pytest.raises(DataError, match="holds no test images; name a folder"):
        images_for(run, build_trainer(run.experiment, run.splits).model, None)
