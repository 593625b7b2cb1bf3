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
from aegean.use import completions, decode_alike, image_files, interpolate, known_pixels, transfer
from aegean.writing import write_row
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


def images_of(n: int) -> torch.Tensor:
    return as_float(make_splits().test.images[:n])


@pytest.mark.parametrize("kind", ["aae-classified", "aae-given", "aae-heads", "ali", "infogan"])
def test_transfer_takes_the_category_of_one_and_the_rest_of_another(kind: str) -> None:
    model = create(SMALL_MODELS[kind], (1, 8, 8), 3, seed=0).eval()
    a, b = images_of(6).split(3)
    z_a, z_b = model.encode(a), model.encode(b)
    expected = decode_alike(model, torch.cat((z_a[:, :3], z_b[:, 3:]), dim=1), seed=1)
    torch.testing.assert_close(transfer(model, a, b, seed=1), expected)
    # An image in its own style is its reconstruction.
    torch.testing.assert_close(transfer(model, a, a, seed=1), decode_alike(model, z_a, seed=1))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("aae", "holds no category"), ("pixelgan-categorical", "a category and no style"), ("vae-gan", "no category")],
)
def test_transfer_refuses_codes_of_one_part(kind: str, reason: str) -> None:
    model, x = create(SMALL_MODELS[kind], (1, 8, 8), 3), images_of(1)
    with pytest.raises(UnsupportedError, match=f"{reason}.*aegean interpolate"):
        transfer(model, x, x)


@pytest.mark.parametrize("kind", ["gan", "pixelcnn", "pixelgan-matching"])
def test_models_that_do_not_lead_both_ways_refuse(kind: str) -> None:
    model, x = create(SMALL_MODELS[kind], (1, 8, 8), 3), images_of(1)
    for task in (lambda: transfer(model, x, x), lambda: interpolate(model, x[0], x[0], 3)):
        with pytest.raises(UnsupportedError, match="from images to codes and back; use an autoencoder"):
            task()


@pytest.mark.parametrize("kind", ["aae", "vae-gan", "pixelgan-gaussian", "implicit", "aae-clustered"])
def test_interpolation_begins_and_ends_with_the_reconstructions(kind: str) -> None:
    model = create(SMALL_MODELS[kind], (1, 8, 8), 3, seed=0).eval()
    x = images_of(2)
    done: list[int] = []
    drawn = interpolate(model, x[0], x[1], 4, seed=2, advance=done.append)
    assert (drawn.shape, done) == ((4, 1, 8, 8), [1, 2, 3, 4])
    torch.testing.assert_close(drawn[[0, 3]], decode_alike(model, model.encode(x), seed=2))


def test_the_same_code_has_the_same_image_wherever_it_stands() -> None:
    model = create(SMALL_MODELS["pixelgan-gaussian"], (1, 8, 8), 3, seed=0)
    z = torch.zeros(3, 2)
    same = decode_alike(model, z, seed=3)
    assert torch.equal(same[0], same[2])
    assert not torch.equal(same, decode_alike(model, z, seed=4))


@pytest.mark.parametrize("channels", [1, 3])
def test_image_files_come_as_the_model_sees_them(tmp_path: Path, channels: int) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.full((20, 10, 3), (255, 0, 0), dtype=np.uint8)).save(tmp_path / "red.png")
    run = SimpleNamespace(scaler=None, experiment=SimpleNamespace(data=Digits()))
    model = create(SMALL_MODELS["aae"], (channels, 8, 8))
    x = image_files(run, model, [tmp_path / "grey.png", tmp_path / "red.png"])  # type: ignore[arg-type]
    assert x.shape == (2, channels, 8, 8)
    torch.testing.assert_close(x[0], torch.from_numpy(grey).float().div(255).expand(channels, 8, 8))
    assert x[1].unique().tolist() == ([0, 1] if channels == 3 else [pytest.approx(76 / 255)])
    sharp = SimpleNamespace(scaler=None, experiment=SimpleNamespace(data=Digits(binarize="threshold")))
    assert image_files(sharp, model, [tmp_path / "grey.png"]).unique().tolist() == [0, 1]  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such file"):
        image_files(run, model, [tmp_path / "none.png"])  # type: ignore[arg-type]
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="damaged, or not an image"):
        image_files(run, model, [tmp_path / "text.png"])  # type: ignore[arg-type]
    vectors = create(SMALL_MODELS["vae"], (5, 1, 1))
    with pytest.raises(DataError, match="not trained on images"):
        image_files(run, vectors, [tmp_path / "grey.png"])  # type: ignore[arg-type]


def test_a_row_shows_the_given_images_too_and_an_array_only_the_drawn(tmp_path: Path) -> None:
    given, drawn = torch.stack((torch.zeros(1, 8, 8), torch.ones(1, 8, 8))), torch.full((3, 1, 8, 8), 0.5)
    write_row(tmp_path / "row.png", given, drawn, between=True)
    write_row(tmp_path / "row.npz", given, drawn)
    with Image.open(tmp_path / "row.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels[5, 5::51].tolist() == [0, 128, 128, 128, 255]
    with np.load(tmp_path / "row.npz") as arrays:
        assert arrays["images"].shape == (3, 8, 8, 1)
    with pytest.raises(ConfigError, match=r"as \.png or \.npz"):
        write_row(tmp_path / "row.gif", given, drawn)
