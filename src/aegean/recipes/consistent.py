"""What the recipes with the consistency term have in common (`-consistent`); rates and epochs are each family's own."""

from aegean.experiment import Experiment
from aegean.models.consistency import Consistency
from aegean.nn import StridedEncoderConfig
from aegean.nn.augment import Affine
from aegean.recipes.games import falling_rates
from aegean.schedules import Anneal
from aegean.train import Adam, TrainConfig

#: Without labels, clusters go by what changes leave as it is; so these are larger.
LARGE = Affine(rotation=25, shear=25, scale=0.2, stretch=0.15)


def consistent(experiment: Experiment, change: Affine | None = None) -> Experiment:
    """Agreement by mutual information, and batch normalisation in all layers of the encoder, lest categories die.

    The changed images take the place of noise on the encoder's input.

    Args:
        experiment: of a model whose code is, or has, a category.
        change: of images; `Affine()` if None.
    """
    noise = {f"model.{name}": 0.0 for name in ("input_noise", "input_dropout") if hasattr(experiment.model, name)}
    return experiment.override(
        {
            "name": f"{experiment.name}-consistent",
            "title": f"{experiment.title}, with consistency under small changes and a convolutional encoder",
            "row": "extended",
            "model.encoder": StridedEncoderConfig(widths=(32, 64, 128), kernel=5, batch_norm="all").to_dict(),
            "model.consistency": Consistency(change=change or Affine()).to_dict(),
            **noise,
        }
    )


def taught_faster(experiment: Experiment, epochs: int = 10) -> TrainConfig:
    """Training of models whose decoder learns from a game (implicit ones).

    What the consistency term and labels teach is no game, so it is five times faster.
    """
    train = falling_rates(epochs, batch_size=200)
    taught = Adam(rate=Anneal(start=1e-3, end=5e-5, epochs=epochs))
    optimizers = train.optimizers | {"agree": taught}
    if getattr(experiment.model, "supervised", False):
        optimizers |= {"classify": taught}
    return train.override({"optimizers": {name: optimizer.to_dict() for name, optimizer in optimizers.items()}})


def with_neighbours(experiment: Experiment, count: int = 5) -> Experiment:
    """For the first half of training, the other image of a pair is one of those that look most like the first.

    Args:
        experiment: with the consistency term.
        count: so many; more link rarer kinds of a class to the others, and more images of other classes.
    """
    return experiment.override(
        {
            "name": experiment.name.replace("-consistent", "-neighbours"),
            "title": f"{experiment.title}, linked by neighbours",
            "model.consistency.neighbours": count,
            "model.consistency.neighbour_epochs": experiment.train.epochs / 2,
        }
    )


def merged(experiment: Experiment, finer: int = 50, epochs: float = 2.0) -> Experiment:
    """Finer categories, merged after a few epochs by who are neighbours; these link images until then.

    Args:
        experiment: with neighbours.
        finer: categories.
        epochs: until when.
    """
    return experiment.override(
        {
            "name": experiment.name.replace("-neighbours", "-merged"),
            "title": f"{experiment.title}, merged from {finer} finer categories",
            "model.consistency.finer": finer,
            "model.consistency.finer_epochs": epochs,
            "model.consistency.neighbour_epochs": epochs,
        }
    )
