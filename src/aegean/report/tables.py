"""The tables of a page: other methods, mistakes, measures of clusters, and verdicts on discriminators."""

import math
from typing import Any

import numpy as np
from markupsafe import Markup

from aegean.evaluate.classification import Classification
from aegean.evaluate.clustering import Clustering
from aegean.plots.curves import curve_svg, short
from aegean.report.content import ReportContent
from aegean.report.health import AdversaryHealth
from aegean.report.words import Names, error_interval, percent

#: A confusion matrix of more classes is not shown as a table, but as its most frequent mistakes.
MOST_CLASSES = 30


def baseline_bars(content: ReportContent) -> dict[str, Any] | None:
    """Bars of all errors in order, and one sentence about them."""
    if content.baselines is None:
        return None
    judged = content.classification or content.clustering
    rows = [(name, error, False) for name, error in content.baselines.items()]
    interval, comment = None, ""
    if judged is not None:
        rows.append(("this model", judged.error_percent, True))
        interval = error_interval(round(judged.error_percent * judged.examples / 100), judged.examples)
        better = [name for name, error, _ in rows[:-1] if error < judged.error_percent]
        total = len(rows) - 1
        if not better:
            equal = [name for name, error, _ in rows[:-1] if error == judged.error_percent]
            comment = "No simple method does better with the same labels on the same images."
            comment += f" As good: {' and '.join(equal)}." if equal else ""
        elif len(better) == total:
            comment = "Every simple method does better with the same labels on the same images."
        else:
            comment = f"With the same labels on the same images, {' and '.join(better)} did better."
    longest = max((error for _, error, _ in rows), default=0.0)
    examples = judged.examples if judged is not None else 0
    return {
        "rows": [
            (name, percent(error, examples), 100 * error / longest if longest else 0.0, ours)
            for name, error, ours in sorted(rows, key=lambda row: (row[1], not row[2]))
        ],
        "comment": comment,
        "interval": interval and f"{interval[0]:.1f} to {percent(interval[1])}",
        "examples": examples,
    }


def confusion_table(result: Classification | None, names: Names) -> dict[str, Any] | None:
    """Cells with a class for their colour: d1 to d5 on the diagonal, m1 to m5 for mistakes."""
    if result is None:
        return None
    counts, recall = result.confusion, result.recall
    most = int((counts - np.diag(np.diag(counts))).max())
    rows = []
    for i, row in enumerate(counts):
        cells = []
        for j, count in enumerate(row):
            strength = math.ceil(5 * (recall[i] if i == j else count / max(most, 1))) if count else 0
            cells.append((int(count), f"{'d' if i == j else 'm'}{strength}" if count else "zero"))
        rows.append((names[i], cells, "" if np.isnan(recall[i]) else percent(100 * recall[i])))
    pairs = [(names[true], names[predicted], count) for true, predicted, count in result.most_confused(20)]
    present = np.flatnonzero(~np.isnan(recall))
    hardest = present[np.argmin(recall[present])]
    return {
        "rows": rows,
        "as_table": len(rows) <= MOST_CLASSES,
        "pairs": pairs,
        "hardest": (names[int(hardest)], percent(100 * recall[hardest])),
        "calibration": None if result.calibration_error is None else f"{100 * result.calibration_error:.1f}",
    }


def clustering_measures(found: Clustering | None) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each measure of a clustering."""
    if found is None:
        return []
    n = found.examples
    rows = [
        (
            "Clusters (K)",
            str(found.clusters),
            f"{found.classes} classes; more clusters make a low error easier",
        ),
        (
            "Error, most typical",
            percent(found.error_percent, n),
            "each cluster named after its most typical image",
        ),
        (
            "Error, majority",
            percent(found.majority_error_percent, n),
            "each named by the majority of its images",
        ),
    ]
    if found.hungarian_error_percent is not None:
        meaning = "each class given to one cluster only"
        rows.append(("Error, one to one", percent(found.hungarian_error_percent, n), meaning))
    rows += [
        ("NMI", f"{found.nmi:.3f}", "shared information of clusters and classes; 1 is perfect"),
        ("ARI", f"{found.ari:.3f}", "agreement on pairs of images; 1 is perfect, 0 is chance"),
        ("Empty / collapsed", f"{found.empty} / {found.collapsed}", "clusters with no or hardly any images"),
    ]
    return rows


def adversary_verdict(health: AdversaryHealth) -> dict[str, Any]:
    """Verdict, sentence and charts of one discriminator."""
    chance = health.discriminator_chance
    charts = [
        ("discriminator's loss", health.discriminator_loss, chance),
        ("opponent's loss", health.generator_loss, health.generator_chance),
    ]
    verdict, end = health.verdict, short(health.final_loss)
    sentence = {
        "working": f"Its loss left chance ({short(chance)}) during training and ended at {end}.",
        "diverged": "Its loss became NaN or infinite. Lower the learning rates.",
        "never started": (
            f"Its loss stayed at chance ({short(chance)}) all the time, so it taught its opponent nothing. "
            "Raise its learning rate, or lower the noise on its inputs."
        ),
        "overpowered": (
            "It is almost never wrong, so its opponent hardly learns from it. Lower its learning rate, or "
            "give it noisier inputs or a gradient penalty (R1)."
        ),
    }[verdict]
    return {
        "name": health.name,
        "verdict": verdict,
        "sentence": sentence,
        "accuracies": [
            (name, percent(100 * value))
            for name, value in (("real", health.real_accuracy), ("fake", health.fake_accuracy))
            if value is not None
        ],
        "charts": [
            (label, Markup(curve_svg(points, f"{health.name}: {label}", (level, "chance"))))  # noqa: S704
            for label, points, level in charts
            if any(math.isfinite(value) for _, value in points)
        ],
    }
