"""Fill a report from a run's folder: what the model does on held-out images, drawn and counted."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aegean.adversary import Adversary
from aegean.config import Config
from aegean.data import ImageData, Splits
from aegean.evaluate.apply import Advance, apply, progress_of
from aegean.evaluate.classification import evaluate_classification
from aegean.evaluate.clustering import evaluate_clustering
from aegean.files import atomic_write
from aegean.models import ALIConfig, Model
from aegean.report.content import Cluster, ImageRow, Mistakes, Reconstructions, ReportContent, Technical
from aegean.report.figures import MAX_ROWS, code_map, component_names, paper_figures
from aegean.report.health import AdversaryHealth
from aegean.report.noise import in_the_plane, noise_figures, point_map
from aegean.report.page import render_report
from aegean.report.png import save_pictures
from aegean.run import Run
from aegean.use import draw_samples, reconstructions

#: Samples of each class, most typical members of each cluster, reconstructions, mistakes.
SAMPLES, MEMBERS, REBUILT, MISTAKES = 10, 10, 20, 24


def write_report(
    run: Run, out: Path | None = None, baselines: Mapping[str, float] | None = None, advance: Advance | None = None
) -> Path:
    """Write a run's report as one HTML file.

    Args:
        run: with at least one checkpoint.
        out: the file; by default `report.html` in the run's folder.
        baselines: error in percent of other methods on the same labels and split, by name.
        advance: told of the progress.

    Returns:
        The file.

    Raises:
        CheckpointError: there is no model yet.
        OutputError: the file cannot be written.
    """
    path = out or run.folder / "report.html"
    atomic_write(path, render_report(report_content(run, baselines, advance)))
    return path


def write_pictures(
    run: Run, folder: Path | None = None, only: Sequence[str] = (), advance: Advance | None = None
) -> list[Path]:
    """Write the pictures of a run's report as PNG files, which say in themselves of which run they are.

    Args:
        run: with at least one checkpoint.
        folder: of the files, `NAME.png`; by default `pictures` in the run's folder.
        only: names of the pictures wanted, such as `samples` or `content-and-style`; by default all of them.
        advance: told of the progress.

    Returns:
        The files.

    Raises:
        CheckpointError: there is no model yet.
        ConfigError: the run has no picture of that name.
        OutputError: a file cannot be written.
    """
    experiment, environment, rows = run.experiment, run.started_in(), run.metrics()
    source = {
        "Recipe": experiment.name,
        "Seed": str(experiment.seed),
        "Epochs": f"{rows[-1]['epoch'] if rows else 0:g}",
        "Commit": environment.commit,
        "Software": f"aegean {environment.aegean}",
    }
    content = report_content(run, advance=advance)
    return save_pictures(content, folder or run.folder / "pictures", source, only)


def report_content(
    run: Run, baselines: Mapping[str, float] | None = None, advance: Advance | None = None
) -> ReportContent:
    """Gather everything that the report of a run shows; the arguments are those of `write_report`."""
    model, splits = run.model(), run.splits
    rows = run.metrics()
    shown = shown_images(splits, model)
    content = ReportContent(
        title=run.experiment.title,
        subtitle=f"{splits.description} · seed {run.experiment.seed}",
        class_names=splits.train.class_names,
        labels=(len(splits.labelled), len(splits.train)),
        judged="held-out images" if len(splits.test) else "images",
        baselines=baselines,
        errors=[(row["epoch"], row["validation/error"]) for row in rows if "validation/error" in row],
        curves=_curves(rows),
        adversaries=_adversaries(rows, run.experiment.model),
        technical=_technical(run, rows),
    )
    parts: dict[str, Any] = {"figures": []}
    work = _work(run, model, shown)
    tell = progress_of(advance, "drawing the report", len(work)) or (lambda done: None)
    tell(0)
    for done, make in enumerate(work, start=1):
        made = make()
        parts |= made | {"figures": [*parts["figures"], *made.get("figures", ())]}
        tell(done)
    return dataclasses.replace(content, **parts)


def _work(run: Run, model: Model, shown: ImageData) -> list[Callable[[], dict[str, Any]]]:
    """What makes the parts of a report, each some of them."""
    plane = in_the_plane(model)
    work: list[Callable[[], dict[str, Any]]] = []
    if model.can("predict"):
        work.append(partial(_predictions, run, model, shown))
    if model.can("encode") and model.can("decode") and not plane:
        work.append(lambda: {"reconstructions": Reconstructions(*reconstructions(run, model, shown, REBUILT))})
    if plane:
        work.append(lambda: {"codes": point_map(run, model)})
    elif model.can("encode"):
        work.append(lambda: {"codes": code_map(run, model, shown)})
    if not plane:
        work.append(partial(_drawn, run, model))
    work.append(lambda: {"figures": noise_figures(run, model)})
    return work


def _drawn(run: Run, model: Model) -> dict[str, Any]:
    """Samples, and the figures that compare with them or are drawn of the prior."""
    samples = _samples(run, model) if model.can("sample") else []
    return {"samples": samples, "figures": paper_figures(run, model, samples)}


def _samples(run: Run, model: Model) -> list[ImageRow]:
    if model.components is None:
        return [ImageRow("samples", draw_samples(model, 4 * SAMPLES, dtype=run.precision))]
    clusters = model.can("predict") and not model.supervised
    return [
        ImageRow(f"cluster {name}" if clusters else name, draw_samples(model, SAMPLES, k, seed=k, dtype=run.precision))
        for k, name in enumerate(component_names(run, model, model.components)[:MAX_ROWS])
    ]


def shown_images(splits: Splits, model: Model) -> ImageData:
    """Return the images that a report shows: those held out; or else those of training, without labels that it saw."""
    if len(splits.test):
        return splits.test
    if model.supervised:
        return splits.train.without_labels()
    return splits.revealed


def _predictions(run: Run, model: Model, test: ImageData) -> dict[str, Any]:
    splits = run.splits
    log_q = apply(model, model.log_predict, test.images, run.precision, splits.binarize)
    best, predicted = log_q.max(dim=1)
    confidence = best.exp()
    known = torch.nonzero(test.labels >= 0).flatten()
    parts: dict[str, Any] = {}
    names: list[str | None] = [None] * log_q.shape[1]
    if model.supervised:
        names = list(splits.train.class_names)
        if len(known):
            labels = test.labels[known]
            parts["classification"] = evaluate_classification(
                labels, predicted[known], splits.classes, confidence[known]
            )
            parts["mistakes"] = gallery_of_mistakes(test, predicted, confidence, known[predicted[known] != labels])
    elif len(known):
        naming = splits.validation if len(splits.validation) else splits.train
        naming = naming if len(splits.test) else test
        naming = naming.subset(torch.nonzero(naming.labels >= 0).flatten())
        if len(naming):
            q_naming = apply(model, model.log_predict, naming.images, run.precision, splits.binarize)
            result = evaluate_clustering(q_naming, naming.labels, log_q[known], test.labels[known], splits.classes)
            parts["clustering"] = result
            names = [splits.train.class_names[label] for label in result.cluster_labels]
    if not in_the_plane(model):
        parts["clusters"] = _clusters(test, log_q, predicted, names)
    return parts


def _clusters(test: ImageData, log_q: Tensor, predicted: Tensor, names: list[str | None]) -> list[Cluster]:
    found = []
    for k in range(min(log_q.shape[1], MAX_ROWS)):
        members = torch.nonzero(predicted == k).flatten()
        typical = members[log_q[members, k].argsort(descending=True)[:MEMBERS]]
        if len(typical):
            found.append(Cluster(k, test.images[typical], names[k], len(members)))
    return found


def gallery_of_mistakes(test: ImageData, predicted: Tensor, confidence: Tensor, wrong: Tensor) -> Mistakes | None:
    """Return the most confident mistakes; None if there is none.

    Args:
        test: the images that were judged, with their labels.
        predicted: their predicted classes, int64 (n,).
        confidence: probability of these, (n,).
        wrong: indices of the mistakes, int64 (m,).
    """
    if not len(wrong):
        return None
    shown = wrong[confidence[wrong].argsort(descending=True)[:MISTAKES]]
    names = tuple(test.names[index] for index in shown.tolist()) if test.names else None
    return Mistakes(test.images[shown], test.labels[shown], predicted[shown], names, confidence[shown])


def _curves(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """The losses of the phases."""
    if not rows:
        return {}
    shown = [name for name in rows[-1] if "/" not in name and name not in ("epoch", "step", "seconds")]
    return {name: [(row["epoch"], row[name]) for row in rows if name in row] for name in shown}


def _adversaries(rows: list[dict[str, Any]], model: Config | None = None) -> list[AdversaryHealth]:
    """The discriminators that rows of metrics tell of; the model's settings say what their opponents' losses are."""
    found = []
    for key in rows[-1] if rows else ():
        phase, _, metric = key.partition("/")
        if metric == "chance":
            last = rows[-1]
            # Of a model with several discriminators, each part of the other side's loss is logged by itself; a game
            # that is played twice, on other images, has a phase of its own for it.
            judged = phase.removeprefix("discriminate").removeprefix("-")
            opponent = next((name for name in (f"confuse/{judged}", f"confuse-{judged}") if name in last), "confuse")
            losses = [(row["epoch"], row[phase]) for row in rows if phase in row]
            if not losses:
                continue
            found.append(
                AdversaryHealth(
                    name=phase,
                    discriminator_loss=losses,
                    generator_loss=[(row["epoch"], row[opponent]) for row in rows if opponent in row],
                    real_accuracy=last.get(f"{phase}/real_accuracy"),
                    fake_accuracy=last.get(f"{phase}/fake_accuracy"),
                    discriminator_chance=last[key],
                    **_generator_chance(model, judged),
                )
            )
    return found


def _generator_chance(model: Config | None, judged: str) -> dict[str, float]:
    """The loss of a discriminator's opponent where nothing can be told; nothing for a model without such settings."""
    adversary = getattr(model, f"{judged}_adversary", None) or getattr(model, "adversary", None)
    if not isinstance(adversary, Adversary):
        return {}
    level = adversary.chance_level[1]
    if isinstance(model, ALIConfig) or (judged == "reconstruction" and getattr(model, "gradients", None) == "both"):
        # Both kinds of pairs are made by networks that learn, each with a term of its own.
        level += float(adversary.generator_loss_of_real(torch.tensor([adversary.boundary])))
    return {"generator_chance": level}


def _technical(run: Run, rows: list[dict[str, Any]]) -> Technical:
    environment = run.started_in()
    return Technical(
        command=run.command,
        configuration=run.experiment.to_yaml(),
        versions={name: getattr(environment, name) for name in ("aegean", "torch", "python", "commit")},
        hardware=environment.hardware,
        minutes=rows[-1]["seconds"] / 60 if rows and "seconds" in rows[-1] else None,
        warnings=(*run.warnings(), *run.splits.skipped),
    )
