"""What a trained run is good for, beside what tests of the command line cover."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.data import Digits, as_float
from aegean.errors import ConfigError, DataError, UnsupportedError
from aegean.models import create
from aegean.use import completions, known_pixels
from conftest import SMALL_MODELS, make_splits


@pytest.mark.parametrize(
    ("keep", "rows", "columns"),
    [
        (None, slice(0, 2), slice(None)),
        ("top", slice(0, 2), slice(None)),
        ("bottom", slice(3, 5), slice(None)),
        ("left", slice(None), slice(0, 3)),
        ("right", slice(None), slice(3, 6)),
        ("0.6", slice(0, 3), slice(None)),
    ],
)
def test_a_side_is_the_half_that_is_known(keep: str | None, rows: slice, columns: slice) -> None:
    expected = torch.zeros(5, 6, dtype=torch.bool)
    expected[rows, columns] = True
    assert torch.equal(known_pixels(keep, None, (5, 6)), expected)


def test_a_mask_is_white_where_pixels_are_known(tmp_path: Path) -> None:
    pixels = np.array([[255, 200, 128], [127, 10, 0]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    known = known_pixels(None, tmp_path / "mask.png", (2, 3))
    assert known.tolist() == [[True, True, True], [False, False, False]]
    Image.fromarray(np.stack([pixels] * 3, axis=2)).save(tmp_path / "colour.png")
    assert torch.equal(known_pixels(None, tmp_path / "colour.png", (2, 3)), known)


def test_masks_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.fromarray(np.zeros((2, 3), dtype=np.uint8)).save(mask)
    with pytest.raises(ConfigError, match="no pixel is known"):
        known_pixels(None, mask, (2, 3))
    with pytest.raises(DataError, match=r"is 2x3 .*, the model's images are 3x2"):
        known_pixels(None, mask, (3, 2))
    with pytest.raises(ConfigError, match="give one of them"):
        known_pixels("top", mask, (2, 3))
    Image.fromarray(np.full((2, 3), 255, dtype=np.uint8)).save(mask)
    with pytest.raises(ConfigError, match="every pixel is known"):
        known_pixels(None, mask, (2, 3))
    with pytest.raises(ConfigError, match="of 1x8 pixels no pixel is known"):
        known_pixels("top", None, (1, 8))
    for keep in ("middle", "0", "1", "nan", "-0.5"):
        with pytest.raises(ConfigError, match="write top, bottom, left, right"):
            known_pixels(keep, None, (8, 8))
    mask.write_text("no image")
    with pytest.raises(DataError, match=r"damaged, or not an image .*; give a PNG"):
        known_pixels(None, mask, (2, 3))
    with pytest.raises(DataError, match="no such file"):
        known_pixels(None, tmp_path / "nothing.png", (2, 3))


@pytest.mark.parametrize("keep", ["top", "right"])
def test_completions_are_of_the_images_as_the_model_sees_them_in_their_order(keep: str) -> None:
    run = SimpleNamespace(experiment=SimpleNamespace(data=Digits(binarize="threshold")))
    data, model = make_splits().test, create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3, seed=0)
    known = known_pixels(keep, None, (8, 8))
    steps: list[tuple[int, int]] = []
    originals, drawn = completions(run, model, data, known, 3, 60, 3, 5, lambda *step: steps.append(step))  # type: ignore[arg-type]
    assert torch.equal(originals, as_float(data.images[:3], "threshold"))
    assert drawn.shape == (3, 60, 1, 8, 8)
    for image, some in zip(originals, drawn, strict=True):
        assert (some[..., known] == image[..., known]).all()
        assert some[:, 0, ~known].std(dim=0).min() > 0
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    assert len({work for _, work in steps}) == 1
    _, again = completions(run, model, data, known, 3, 60, 3, 5)  # type: ignore[arg-type]
    assert torch.equal(drawn, again)
    with pytest.raises(UnsupportedError, match="PixelCNN decoder"):
        completions(run, create(SMALL_MODELS["vae"], (1, 8, 8)), data, known, 3, 2)  # type: ignore[arg-type]
