"""The report of a task: its results in words, and pictures that a run of `aegean train` does not have."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from aegean.evaluate.apply import Advance
from aegean.files import atomic_write
from aegean.plots import thumbnail_map
from aegean.report import Codes, Proposals, render_report
from aegean.report.build import gallery_of_mistakes, report_content
from aegean.run import Run
from aegean.starts import describe_starts
from aegean.tasks.classes import Classes
from aegean.tasks.clusters import Clusters
from aegean.tasks.coordinates import Coordinates
from aegean.tasks.settings import TaskSettings

Found = Clusters | Classes | Coordinates


def write_page(
    run: Run, settings: TaskSettings, found: Found, out: Path | None = None, advance: Advance | None = None
) -> Path:
    """Write the report as one HTML file, by default `report.html` in the run's folder.

    Args:
        run: that is reported.
        settings: of the task.
        found: by the task.
        out: the file.
        advance: told of the progress.

    Raises:
        OutputError: it cannot be written.
    """
    path = out or run.folder / "report.html"
    content = report_content(run, advance=advance)
    reasons = tuple(filter(None, (*settings.reasons, describe_starts(run.folder))))
    technical = content.technical and dataclasses.replace(content.technical, reasons=reasons)
    parts: dict[str, Any] = {"findings": found.sentences(), "technical": technical, "subtitle": settings.found}
    match found:
        case Classes():
            parts |= _of_classes(run, found)
        case Coordinates():
            parts |= _of_coordinates(found)
    atomic_write(path, render_report(dataclasses.replace(content, **parts)))
    return path


def _of_classes(run: Run, found: Classes) -> dict[str, Any]:
    data, parts = found.data, dict[str, Any]()
    if found.unseen is not None:
        unseen = found.unseen
        judged = (run.splits.test if unseen.held_out else data).subset(unseen.index)
        confidence, predicted = unseen.probabilities.max(dim=1)
        wrong = torch.nonzero(predicted != unseen.labels).flatten()
        parts["classification"] = unseen.judge()
        parts["mistakes"] = gallery_of_mistakes(judged, predicted, confidence, wrong)
        parts["judged"] = "held-out images" if unseen.held_out else "images whose label was hidden"
    if len(found.next):
        confidence, best = found.q[found.next].max(dim=1)
        parts["proposals"] = Proposals(
            images=data.images[found.next],
            guesses=[data.class_names[k] for k in best.tolist()],
            confidence=confidence,
            names=None if data.names is None else [data.names[index] for index in found.next.tolist()],
        )
    return parts


def _of_coordinates(found: Coordinates) -> dict[str, Any]:
    data = found.data
    if found.z.shape[1] == 1:
        return {}
    if data.shape[1:] == (1, 1):
        return {"codes": Codes(found.plane, data.labels)}
    labelled = bool((data.labels >= 0).any())
    points = Codes(found.plane, data.labels) if labelled else None
    return {"map": thumbnail_map(found.plane, data.images), "codes": points}
