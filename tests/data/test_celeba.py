"""CelebA, on a small set of files in the official format."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.data import CelebA, check, describe
from aegean.errors import DataError

PARTS = [0, 0, 1, 0, 2, 0, 2]
NAMES = [f"{k + 1:06d}.jpg" for k in range(len(PARTS))]
LIST = "".join(f"{name} {part}\n" for name, part in zip(NAMES, PARTS, strict=True))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("AEGEAN_DATA", str(tmp_path))
    (tmp_path / "celeba").mkdir()
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text(LIST)
    return tmp_path / "celeba"


def jpeg(k, size=(178, 218)):
    """Grey around a square of 100 pixels in the centre, whose red is the number of the image."""
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    pixels[59:159, 39:139] = (30 * k, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def pack(place, **changed):
    with zipfile.ZipFile(place / "img_align_celeba.zip", "w") as archive:
        for k, name in enumerate(NAMES):
            content = changed.get(f"image{k}", jpeg(k))
            if content is not None:
                archive.writestr(f"img_align_celeba/{name}", content)


def lay_out(place):
    (place / "img_align_celeba").mkdir()
    for k, name in enumerate(NAMES):
        (place / "img_align_celeba" / name).write_bytes(jpeg(k))


@pytest.mark.parametrize("make", [pack, lay_out])
def test_images_are_in_their_official_parts(place, make):
    make(place)
    splits = CelebA().load()
    assert splits.shape == (3, 48, 48)
    for part, data in enumerate((splits.train, splits.validation, splits.test)):
        members = [k for k, own in enumerate(PARTS) if own == part]
        assert data.names == tuple(NAMES[k] for k in members)
        assert (data.images[:, 0, 24, 24].int() - 30 * torch.tensor(members)).abs().max() <= 4
        assert (data.labels == -1).all()
    assert check(CelebA()).images == len(PARTS)
    assert describe("celeba").present


def test_a_square_around_the_centre_is_scaled(place):
    pack(place)
    whole, face = CelebA(crop=178).load().train.images[0], CelebA(crop=100).load().train.images[0]
    assert (face[2].int() - 255).abs().max() <= 6  # nothing but the square
    assert (whole[:, 0, 0].int() - 128).abs().max() <= 4
    inside = (whole[2] > 200).float()
    assert inside.mean() == pytest.approx((100 / 178) ** 2, rel=0.1)
    rows = torch.nonzero(inside.any(dim=1)).flatten()
    assert int(rows[0]) == pytest.approx(47 - int(rows[-1]), abs=1)
    assert CelebA(size=32).load().shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image1": None}, "has no img_align_celeba/000002.jpg"),
        ({"image1": b"GIF89a"}, "000002.jpg is damaged, or not a JPEG"),
        ({"image4": jpeg(4, size=(64, 64))}, r"000005.jpg is 64x64, the official images are 218x178"),
        ({"image1": bytes(1_000_001)}, "more than 1000000"),
    ],
)
def test_wrong_images_are_named(place, changed, message):
    pack(place, **changed)
    with pytest.raises(DataError, match=message):
        CelebA().load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("000001.jpg 0\n../x.jpg 1\n", r"line 2: '../x.jpg 1'"),
        ("000001.jpg 0\n000001.jpg 1\n", "not in the list yet"),
        ("000001.jpg 3\n", "line 1"),
        ("000001.jpg 0\n", r"in parts \[0\]"),
    ],
)
def test_a_wrong_list_is_named(place, text, message):
    pack(place)
    (place / "list_eval_partition.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        CelebA().load()


def test_missing_and_damaged_files_say_what_to_do(place):
    with pytest.raises(DataError, match=r"Get list_eval_partition\.txt and img_align_celeba\.zip from the authors"):
        CelebA().load()
    (place / "img_align_celeba.zip").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="a damaged archive, or none"):
        CelebA().load()
