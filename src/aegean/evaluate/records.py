"""Records of runs, and the tables in the documents that are made from them.

One JSON file a run, `results/RECIPE/seed-S.json`, is committed. A document holds marked places ::

    <!-- results:pixelgan-mnist-* | error_percent -->
    <!-- /results -->

and `render_tables` fills them. No figure in a table is typed by hand, and none is left out: mean and standard
deviation are over *all* seeds on record.
"""

import datetime
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, JsonValue

from aegean.config import MAX_CONFIG_BYTES, Config
from aegean.errors import DataError
from aegean.files import atomic_write_json, read_bounded

#: Papers' figures as printed, by recipe and metric: `{"aae-mnist-100": {"error_percent": "1.90 ± 0.10"}}`.
PaperFigures = Mapping[str, Mapping[str, str]]


class RunRecord(Config):
    """What one run of a recipe reached, and under which conditions.

    Attributes:
        recipe: name of the recipe.
        kind: `"faithful"` (the paper's settings), `"stabilised"` (same objective, trained more safely) or
            `"extended"` (further terms).
        seed: of the run.
        epochs: passes over the unlabelled images.
        steps: mini-batches.
        minutes: time of training.
        hardware: one line.
        threads: CPU threads of one operation.
        python, torch, aegean: versions.
        commit: of the source; empty if it was not a checkout.
        metrics: results on the test set, by name.
        errors_by_epoch: percent of the validation images whose class is wrong, at the end of each epoch at which they
            were looked at; empty if they never were.
        settings: all that the training depended on, the parts `data`, `model`, `train`, `seed` and `starts` of an
            `Experiment` as they were then; empty in records that are older than this entry and were not checked since.
        command: what was typed.
        date: day on which the run ended.
    """

    recipe: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    kind: Literal["faithful", "stabilised", "extended"]
    seed: int = Field(ge=0)
    epochs: FiniteFloat = Field(ge=0)
    steps: int = Field(ge=0)
    minutes: FiniteFloat = Field(ge=0)
    hardware: str
    threads: int = Field(ge=1)
    python: str
    torch: str
    aegean: str
    commit: str = ""
    metrics: dict[str, FiniteFloat] = Field(min_length=1)
    errors_by_epoch: dict[int, FiniteFloat] = {}
    settings: dict[str, JsonValue] = {}
    command: str
    date: datetime.date


@dataclass(frozen=True)
class Statistic:
    """A metric over seeds.

    Attributes:
        mean: over all seeds.
        std: standard deviation of a sample (n - 1); None for one seed.
        count: number of seeds.
    """

    mean: float
    std: float | None
    count: int

    def __str__(self) -> str:
        """Format as `1.08 ± 0.15`: the deviation to two significant digits, the mean to the same place."""
        if self.std is None:
            return f"{_significant(self.mean)} (one seed)"
        if self.std == 0:
            return f"{_significant(self.mean)} ± 0"
        places = min(6, max(0, 1 - math.floor(math.log10(self.std))))
        return f"{self.mean:.{places}f} ± {self.std:.{places}f}"


def write_record(folder: str | Path, record: RunRecord) -> Path:
    """Write a record to `folder/RECIPE/seed-S.json`, in place of an older one of the same recipe and seed.

    Returns:
        The path of the file.

    Raises:
        OutputError: it cannot be written.
    """
    path = _place(Path(folder), record)
    atomic_write_json(path, record.to_dict())
    return path


def read_records(folder: str | Path) -> list[RunRecord]:
    """Read all records under a folder, in order of recipe and seed.

    Raises:
        DataError: a file is not JSON, or lies where another recipe or seed belongs.
        ConfigError: a record has unknown, missing or wrong entries.
    """
    records = []
    for path in Path(folder).glob("*/seed-*.json"):
        try:
            values = json.loads(read_bounded(path, MAX_CONFIG_BYTES))
        except (ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: not a record ({error}).") from None
        record = RunRecord.from_dict(values, where=str(path))
        if path != _place(Path(folder), record):
            raise DataError(f"{path}: is the record of {record.recipe}, seed {record.seed}; move it where it belongs.")
        records.append(record)
    return sorted(records, key=lambda record: (record.recipe, record.seed))


def summarise(records: Sequence[RunRecord]) -> dict[str, Statistic]:
    """Return mean and standard deviation of every metric over the seeds of one recipe.

    Raises:
        DataError: no records, records of several recipes or kinds, the same seed twice, or a metric that some
            seeds lack (a mean over the others would be a choice).
    """
    if len({(record.recipe, record.kind) for record in records}) != 1:
        raise DataError("expected records of one recipe and one kind; summarise each recipe by itself.")
    recipe, seeds = records[0].recipe, [record.seed for record in records]
    if len(set(seeds)) != len(seeds):
        raise DataError(f"{recipe}: a seed occurs twice ({sorted(seeds)}).")
    names = list(dict.fromkeys(name for record in records for name in record.metrics))
    missing = [(name, record.seed) for name in names for record in records if name not in record.metrics]
    if missing:
        name, seed = missing[0]
        raise DataError(f"{recipe}: seed {seed} has no {name!r}, other seeds have; evaluate all seeds alike.")
    return {name: _statistic([record.metrics[name] for record in records]) for name in names}


def markdown_table(
    records: Iterable[RunRecord], metrics: Sequence[str] | None = None, paper: PaperFigures | None = None
) -> str:
    """Return a Markdown table with one row a recipe and metric, and a line on the conditions of each recipe under it.

    Args:
        records: of any number of recipes; the rows keep their order.
        metrics: which to show, in this order; by default all of them.
        paper: the papers' figures; without any, that column is left out.

    Raises:
        DataError: no records, a recipe has none of `metrics`, or `summarise` refuses.
    """
    by_recipe: dict[str, list[RunRecord]] = {}
    for record in records:
        by_recipe.setdefault(record.recipe, []).append(record)
    if not by_recipe:
        raise DataError("no records to make a table of.")
    printed = {recipe: (paper or {}).get(recipe, {}) for recipe in by_recipe}
    with_paper = any(printed.values())
    head = ["Recipe", "Kind", "Metric", *(["Paper"] if with_paper else []), "Ours"]
    conditions = []
    rows = []
    for recipe, runs in by_recipe.items():
        summary = summarise(runs)
        shown = [name for name in (summary if metrics is None else metrics) if name in summary]
        if not shown:
            raise DataError(f"{recipe}: has none of {', '.join(metrics or ())}; on record: {', '.join(summary)}.")
        for name in shown:
            rows.append(
                [
                    recipe,
                    runs[0].kind,
                    name.replace("_", " "),
                    *([printed[recipe].get(name, "")] if with_paper else []),
                    str(summary[name]),
                ]
            )
        conditions.append(
            f"- {recipe}: {_count(len(runs), 'seed')}, {_span([run.epochs for run in runs])} epochs, "
            f"{_span([round(run.minutes, 1) for run in runs])} minutes each on "
            f"{'; '.join(dict.fromkeys(map(_hardware, runs)))}. `{_command(runs)}`"
        )
    lines = [head, ["---"] * len(head), *rows]
    table = ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    return "\n".join([*table, "", *conditions])


def _hardware(run: RunRecord) -> str:
    return f"{run.hardware}, {_count(run.threads, 'thread')}"


def _command(runs: Sequence[RunRecord]) -> str:
    """What gives all seeds, where they follow each other; they may have been run one by one."""
    first, count = min(run.seed for run in runs), len(runs)
    if max(run.seed for run in runs) != first + count - 1:
        return runs[0].command
    seeds = f"--seeds {count}" + (f" --first {first}" if first else "")
    return re.sub(r"--seeds \d+( --first \d+)?", seeds, runs[0].command)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


_MARKED = re.compile(r"(<!-- results:([^\n]*?) -->)(.*?)(<!-- /results -->)", re.DOTALL)


def render_tables(text: str, records: Sequence[RunRecord], paper: PaperFigures | None = None) -> str:
    """Fill the marked places of a document with tables.

    A place is `<!-- results:RECIPES -->` ... `<!-- /results -->`, where RECIPES are names or patterns
    (`aae-*`), separated by spaces; `<!-- results:RECIPES | METRICS -->` shows some metrics only. What was
    between the markers is replaced, so rendering twice changes nothing; where no record matches, it stays.

    Args:
        text: of the document.
        records: all records.
        paper: the papers' figures, see `markdown_table`.

    Raises:
        DataError: a marker has no end, or names no recipe.
    """
    if text.count("<!-- results:") != len(_MARKED.findall(text)) or text.count("<!-- /results -->") != len(
        _MARKED.findall(text)
    ):
        raise DataError("every <!-- results:NAME --> needs one <!-- /results --> after it, and the other way round.")

    def table(match: re.Match[str]) -> str:
        patterns, _, metrics = match[2].partition("|")
        chosen = _chosen(records, patterns)
        if not chosen and patterns.split():
            return match[0]  # nothing was run yet: what the place says stays
        return f"{match[1]}\n{markdown_table(chosen, metrics.split() or None, paper)}\n{match[4]}"

    return _MARKED.sub(table, text)


_EPOCHS = re.compile(r"(<!-- epochs:([^\n]*?) -->)(.*?)(<!-- /epochs -->)", re.DOTALL)


def render_epochs(text: str, records: Sequence[RunRecord]) -> str:
    """Fill the places `<!-- epochs:RECIPES -->` ... `<!-- /epochs -->` with errors on validation images by epoch.

    A row is an epoch (1, 2, 5, 10, 20, 50, ... and the last), a column a recipe; a cell is the mean over all its seeds,
    empty where not all of them were looked at. Recipes are named as for `render_tables`; where no record has errors by
    epoch, a place stays.

    Args:
        text: of the document.
        records: all records.
    """

    def table(match: re.Match[str]) -> str:
        by_recipe: dict[str, list[RunRecord]] = {}
        for record in _chosen(records, match[2]):
            by_recipe.setdefault(record.recipe, []).append(record)
        common = {
            recipe: set.intersection(*(set(run.errors_by_epoch) for run in runs)) for recipe, runs in by_recipe.items()
        }
        columns = [recipe for recipe, epochs in common.items() if epochs]
        if not columns:
            return match[0]
        shown = {epoch for recipe in columns for epoch in common[recipe] if re.fullmatch("[125]0*", str(epoch))}
        shown |= {max(common[recipe]) for recipe in columns}
        lines = [["Epoch", *columns], ["---", *["---:"] * len(columns)]]
        for epoch in sorted(shown):
            cells = [
                str(_statistic([run.errors_by_epoch[epoch] for run in by_recipe[recipe]]))
                if epoch in common[recipe]
                else ""
                for recipe in columns
            ]
            lines.append([str(epoch), *cells])
        return "\n".join([match[1], *("| " + " | ".join(line) + " |" for line in lines), match[4]])

    return _EPOCHS.sub(table, text)


def _chosen(records: Sequence[RunRecord], patterns: str) -> list[RunRecord]:
    """Records whose recipe matches one of the patterns, in the patterns' order, each once."""
    chosen: list[RunRecord] = []
    for pattern in patterns.split():
        found = [record for record in records if fnmatchcase(record.recipe, pattern)]
        chosen += [record for record in found if record not in chosen]
    return chosen


def _place(folder: Path, record: RunRecord) -> Path:
    return folder / record.recipe / f"seed-{record.seed}.json"


def _statistic(values: Sequence[float]) -> Statistic:
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Statistic(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Statistic(mean, math.sqrt(variance), len(values))


def _significant(value: float) -> str:
    """Four significant digits without an exponent."""
    places = 3 - math.floor(math.log10(abs(value))) if value else 2
    return f"{value:.{min(6, max(0, places))}f}"


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _cell(text: str) -> str:
    """Keep a cell in its cell."""
    return " ".join(text.split()).replace("|", "\\|")


_BENCHMARK = re.compile(r"(<!-- benchmark:([a-z0-9-]+) -->)(.*?)(<!-- /benchmark -->)", re.DOTALL)


def render_benchmarks(text: str, folder: str | Path) -> str:
    """Fill the places `<!-- benchmark:NAME -->` ... `<!-- /benchmark -->` of a document.

    Args:
        text: of the document.
        folder: where `python -m benchmarks.run` left its records, `NAME.json`. Without one, a place stays.

    Raises:
        DataError: a record is not what that program writes.
    """

    def table(match: re.Match[str]) -> str:
        path = Path(folder) / f"{match[2]}.json"
        if not path.is_file():
            return match[0]
        try:
            record = json.loads(read_bounded(path, MAX_CONFIG_BYTES))
            rows = [f"| {_cell(name)} | {float(value):,.2f} |" for name, value in record["figures"].items()]
            environment = record["environment"]
            where = f"{environment['cores']} cores of {environment['processor']}, torch {environment['torch']}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: not a record of a benchmark ({error}).") from None
        return "\n".join([match[1], "| Figure | Value |", "| --- | ---: |", *rows, "", f"{where}.", match[4]])

    return _BENCHMARK.sub(table, text)
