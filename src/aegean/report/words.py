"""What a page says: its first sentences, and numbers in words."""

import math
from collections.abc import Sequence

from aegean.report.content import ReportContent


class Names:
    """Names of classes; the number where there is no name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __getitem__(self, label: int) -> str:
        return self._names[label] if 0 <= label < len(self._names) else str(label)


def lead(content: ReportContent) -> list[str]:
    """Return the plain sentences for the top of the page."""
    names = Names(content.class_names)
    sentences = list(content.findings[:1])
    if content.classification is not None:
        result = content.classification
        right = result.examples - result.mistakes
        if not content.findings:
            sentences.append(
                f"{right:,} of {result.examples:,} {content.judged} were labelled correctly "
                f"({percent(result.error_percent, result.examples)} error)."
            )
        worst = [
            f"{names[true]} taken for {names[predicted]} ({times(count)})"
            for true, predicted, count in result.most_confused(2)
        ]
        if worst:
            sentences.append(f"Most mistakes: {' and '.join(worst)}.")
    sentences += content.findings[1:]
    if content.clustering is not None and not content.findings:
        found = content.clustering
        right = found.examples - round(found.examples * found.error_percent / 100)
        sentences.append(
            f"{found.clusters} clusters were found without labels; each named after its most typical image, "
            f"they put {right:,} of {found.examples:,} {content.judged} into the right class "
            f"({percent(found.error_percent, found.examples)} error with K = {found.clusters})."
        )
        if found.collapsed:
            sentences.append(f"{found.collapsed} of the {found.clusters} clusters are empty or nearly so.")
    if content.labels is not None:
        labelled, images = content.labels
        some = f"{labelled:,}" if labelled else "none"
        sentences.append(f"It learned from {images:,} images, {some} of them with a label.")
    return [*sentences, *content.sentences]


def percent(value: float, examples: int = 0) -> str:
    """Format a percentage with one decimal, or two where there are enough examples to know the second."""
    return f"{value:.{2 if examples >= 2000 else 1}f}\u202f%"


def error_interval(mistakes: int, examples: int) -> tuple[float, float]:
    """Return the 95 % interval (Wilson 1927) of an error rate, in percent."""
    z = 1.959964
    rate = mistakes / examples
    centre = (rate + z * z / (2 * examples)) / (1 + z * z / examples)
    half = z / (1 + z * z / examples) * math.sqrt(rate * (1 - rate) / examples + z * z / (4 * examples**2))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def times(count: int) -> str:
    """Return "once", "twice", "3 times"."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def duration(minutes: float | None) -> str | None:
    """Return minutes as a person says them."""
    if minutes is None:
        return None
    if minutes < 2:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
