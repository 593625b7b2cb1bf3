"""What the estimators have in common: choosing settings, training, prediction in equal batches, files."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from aegean.choose import DataSummary, choose
from aegean.choose.networks import ModelName, Task
from aegean.data import ImageData, SplitSettings
from aegean.errors import ConfigError
from aegean.estimators.arrays import Form, rows_of
from aegean.evaluate.apply import evaluation
from aegean.models import Model, registry
from aegean.starts import train_starts
from aegean.train import Progress
from aegean.use import draw_samples

#: Images of every pass of a network. Fewer are filled up, so that a result does not depend on what else is asked for:
#: products of matrices of other sizes are rounded otherwise.
BATCH = 128

RandomState = int | np.random.RandomState | None


class AdversarialEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators; subclasses name the task and what to return."""

    _task: Task

    model: ModelName
    image_shape: Sequence[int] | None
    epochs: int | None
    minutes: float | None
    overrides: Mapping[str, object] | None
    random_state: RandomState
    verbose: int

    # ---- training -------------------------------------------------------------------------------------------------

    def _checked(self, X: Any, y: Any = None, *, fitting: bool) -> tuple[NDArray[Any], Any]:
        """Return rows of numbers, and y; remember the form of the data when fitting."""
        rows, shape, flat = rows_of(X, self.image_shape)
        if not fitting:
            rows = validate_data(self, rows, reset=False)
            return rows, None
        labelled = {} if y is None else {"y": y}
        checked = validate_data(self, rows, ensure_min_samples=2, **labelled)
        rows, y = checked if labelled else (checked, None)
        self._form = Form.of(rows, shape, flat)
        return rows, y

    def _train(self, data: ImageData, **wanted: Any) -> None:
        """Choose settings and train a model, without files."""
        splits = SplitSettings(test=0).split(data)
        chosen = choose(
            self._task,
            DataSummary.of(splits),
            model=self.model,
            epochs=self.epochs,
            minutes=self.minutes,
            splits=splits,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            overrides=self.overrides,
            **wanted,
        )
        self._tell(*chosen.reasons)
        trainer, outcome = train_starts(chosen.experiment, splits, progress=self._progress if self.verbose else None)
        if outcome.ended == "interrupted":
            raise KeyboardInterrupt
        self._tell(*outcome.warnings)
        with trainer.for_evaluation():
            average = {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}
        trainer.model.load_state_dict(average)
        self._model = trainer.model.eval()
        self.experiment_ = chosen.experiment
        self.reasons_ = chosen.reasons

    def _progress(self, progress: Progress) -> None:
        losses = ", ".join(f"{name} {value:.3g}" for name, value in progress.losses.items())
        self._tell(f"epoch {progress.epoch:.1f} of {progress.epochs}, {progress.seconds_left:.0f} s left: {losses}")

    def _tell(self, *sentences: str) -> None:
        if self.verbose:
            print(*sentences, sep="\n")

    # ---- use ------------------------------------------------------------------------------------------------------

    def _apply(self, task: str, X: Any) -> NDArray[np.float32]:
        """Return what a method of the model says of rows or images, in float32."""
        check_is_fitted(self)
        rows, _ = self._checked(X, fitting=False)
        return self._in_batches(getattr(self._model, task), self._form.scale(rows)).numpy()

    def _in_batches(self, task: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        parts = []
        for part in torch.split(x, BATCH):
            full = torch.cat((part, part[:1].expand(BATCH - len(part), *part.shape[1:])))
            with evaluation(self._model):
                parts.append(task(full.to(self._model.device))[: len(part)].float().cpu())
        return torch.cat(parts)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the codes of images or vectors, (n, dimensions of the code)."""
        return self._apply("encode", X)

    def sample(self, n: int = 1, label: Any = None, random_state: RandomState = None) -> NDArray[Any]:
        """Draw new images or vectors, in the form and the range of the training data.

        Args:
            n: how many.
            label: the class or cluster to draw from; None for all.
            random_state: same seed, same images.

        Raises:
            ConfigError: there is no such class or cluster.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        place = None if label is None else self._place_of(label)
        return self._form.restore(draw_samples(self._model, n, place, seed))

    def _place_of(self, label: Any) -> int:
        """The model's number of a class or cluster."""
        raise ConfigError("Coordinates have no classes to draw from; leave label out.")

    @property
    def _n_features_out(self) -> int:
        return int(self._model.encode(torch.zeros(2, *self._model.shape, device=self._model.device)).shape[1])

    # ---- pickle by scikit-learn's users ---------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Plain values and arrays; no torch module."""
        state: dict[str, Any] = dict(super().__getstate__())
        model: Model | None = state.pop("_model", None)
        if model is not None:
            weights = {name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()}
            state["_saved_model"] = {
                "config": model.config.to_dict(),
                "shape": model.shape,
                "classes": model.classes,
                "weights": weights,
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the model again."""
        values = dict(state)
        saved = values.pop("_saved_model", None)
        super().__setstate__(values)
        if saved is not None:
            model_class = registry()[saved["config"]["kind"]]
            config = model_class.config_class.from_dict(saved["config"])
            self._model = model_class.create(config, tuple(saved["shape"]), saved["classes"])
            self._model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in saved["weights"].items()})
            self._model.eval()

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` has ended."""
        return hasattr(self, "_model")
