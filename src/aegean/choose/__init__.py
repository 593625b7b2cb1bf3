"""Settings chosen from the data: networks, code sizes, batches and epochs, each with a reason for everyone.

    chosen = choose("classify", DataSummary.of(splits), data)
    print(*chosen.reasons)
    run = Run.create("runs/mine", chosen.experiment)

The choice starts from a recipe that is measured to work on MNIST or digits (`aegean.choose.networks.RECIPES`) and goes
from there by size, channels, number of examples and of labels, and the time allowed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aegean.choose.networks import RECIPES, ModelName, Task, choose_model
from aegean.choose.schedule import choose_schedule, choose_starts, with_epochs, within_minutes
from aegean.choose.summary import DataSummary
from aegean.data import Arrays, DataConfig, Splits
from aegean.errors import ConfigError, did_you_mean
from aegean.experiment import Experiment
from aegean.models.consistency import consistency_of
from aegean.recipes import get

#: Stands for data that no file holds.
IN_MEMORY = Arrays(path="arrays in memory")

_TITLES: dict[Task, str] = {"classify": "Classes of", "cluster": "Clusters of", "embed": "Coordinates of"}


@dataclass(frozen=True)
class Chosen:
    """An experiment, and why it is as it is.

    Attributes:
        experiment: complete.
        reasons: a sentence for each choice.
    """

    experiment: Experiment
    reasons: tuple[str, ...]


def choose(
    task: Task,
    summary: DataSummary,
    data: DataConfig = IN_MEMORY,
    *,
    model: ModelName = "aae",
    clusters: int | None = None,
    dim: int = 2,
    epochs: int | None = None,
    minutes: float | None = None,
    starts: int | None = None,
    splits: Splits | None = None,
    seed: int = 0,
    overrides: Mapping[str, object] | None = None,
) -> Chosen:
    """Choose every setting.

    Args:
        task: `"classify"` from some labels, `"cluster"` without any, `"embed"` into a few coordinates.
        summary: what the data is like.
        data: where it is from; by default arrays in memory, which only `build_trainer` can be given.
        model: `"aae"` is the fastest and the most tried.
        clusters: how many; by default one for twenty examples, 2 to 30.
        dim: coordinates of an embedding.
        epochs: passes over the data; schedules keep their proportions.
        minutes: time allowed for training instead; the first steps are timed on this machine for a few seconds.
        starts: trainings of which the best is kept, for "cluster"; by default 5 of few examples, of many as
            `minutes` allow, and one where the epochs are given.
        splits: the data itself, for `minutes`.
        seed: of weights, noise and order.
        overrides: settings by dotted keys, which go before every choice.

    Raises:
        ConfigError: an unknown task or model, one that does not suit the data, no labels to classify by, both `epochs`
            and `minutes`, or an override that does not fit.
    """
    _check(task, model, summary, epochs, minutes, splits)
    groups = summary.classes if task == "classify" else clusters or max(2, min(30, summary.n // 20))
    parts = (choose_model(task, model, summary, groups, dim), choose_schedule(task, model, summary, groups))
    recipe = get(RECIPES[task, model])
    reasons = [reason for part in parts for reason in part.reasons]
    changes = {name: value for part in parts for name, value in part.changes.items()}
    epochs_chosen = changes.pop("train.epochs")
    changes |= _description(task, model, recipe, summary) | {"data": data.to_dict(), "seed": seed}
    if task == "embed":
        # One way of training for all: Adam with falling rates, as in the recipe of two-dimensional codes.
        changes["train.optimizers"] = _embedding_rates(recipe, model)
    experiment = with_epochs(recipe.override(changes, where="choice"), epochs_chosen)
    given = dict(overrides or {})
    wanted = given.pop("train.epochs", epochs)
    if wanted is not None:
        experiment = with_epochs(experiment, _whole(wanted))
        reasons.append(f"{wanted} passes instead, as asked.")
    experiment = experiment.override(({} if starts is None else {"starts": starts}) | given)
    fixed = starts is not None or "starts" in given
    if not fixed and wanted is None and consistency_of(experiment.model) is not None:
        experiment = experiment.override({"starts": choose_starts(task, summary, minutes)})
    if minutes is not None and splits is not None:
        experiment, reason = within_minutes(experiment, splits, minutes, fixed)
        reasons.append(reason)
    if experiment.starts > 1:
        reasons.append(
            f"{experiment.starts} trainings from different beginnings; one is kept, that whose clusters are clearest "
            f"and change the least with small changes of the {summary.what}."
        )
    return Chosen(experiment, tuple(reasons))


def _check(
    task: Task,
    model: ModelName,
    summary: DataSummary,
    epochs: int | None,
    minutes: float | None,
    splits: Splits | None,
) -> None:
    for name, value, known in (
        ("task", task, {task for task, _ in RECIPES}),
        ("model", model, {model for _, model in RECIPES}),
    ):
        if value not in known:
            raise ConfigError(f"There is no {name} {value!r}{did_you_mean(str(value), known)}")
    if task == "classify" and (summary.classes < 2 or not summary.labelled):
        raise ConfigError(f"Labels of {summary.classes} classes; give some labels of at least two classes.")
    if summary.n < 2:
        raise ConfigError(f"{summary.n} examples are too few to train on; give at least two.")
    if epochs is not None and minutes is not None:
        raise ConfigError("epochs and minutes both say how long to train; give one of them.")
    if minutes is not None and splits is None:
        raise ConfigError("minutes needs the data itself, to time the first steps; give splits.")


def _description(task: Task, model: ModelName, recipe: Experiment, summary: DataSummary) -> dict[str, object]:
    return {
        "name": f"{task}-{model}",
        "title": f"{_TITLES[task]} {summary.n} {summary.what}",
        "source": f"settings chosen from the data, after the recipe {recipe.name}",
        "row": "extended",
        "paper": {},
        "protocols": [],
        "train.evaluate_every": 0,
    }


def _embedding_rates(recipe: Experiment, model: ModelName) -> dict[str, object]:
    """The rates of `aae-mnist-2d`, stretched to the recipe's epochs; those of the implicit model are its own."""
    own = recipe if model == "implicit" else with_epochs(get(RECIPES["embed", "aae"]), recipe.train.epochs)
    return {name: optimizer.to_dict() for name, optimizer in own.train.optimizers.items()}


def _whole(epochs: object) -> int:
    if isinstance(epochs, bool) or not isinstance(epochs, int):
        raise ConfigError(f"train.epochs is {epochs!r}; give a whole number of passes.")
    return epochs


__all__ = ["IN_MEMORY", "Chosen", "DataSummary", "choose", "with_epochs", "within_minutes"]
