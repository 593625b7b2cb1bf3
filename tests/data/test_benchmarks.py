from typing import get_args

import pytest

from aegean.data import MNIST, DataConfig, available, describe, fetch, settings_of
from aegean.errors import DataError
from aegean.use import data_source

NAMES = ["digits", "mnist", "svhn", "norb", "tfd", "lfw", "cifar10", "celeba"]


def test_known_sets():
    assert [benchmark.name for benchmark in available()] == NAMES
    assert describe("digits").present
    assert fetch("digits") == ()
    with pytest.raises(DataError, match=r"no benchmark set 'minst'; did you mean 'mnist'\?"):
        fetch("minst")


def test_each_set_can_be_had_by_its_name_and_stand_in_a_recipe():
    union = get_args(get_args(DataConfig)[0])
    for benchmark in available():
        settings = settings_of(benchmark.name)
        assert settings.kind == benchmark.name
        assert type(settings) in union
        assert data_source(benchmark.name) == settings
    assert isinstance(settings_of("mnist"), MNIST)
    with pytest.raises(DataError, match="did you mean 'cifar10'"):
        data_source("cifar")


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_set_that_is_not_here_says_what_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("AEGEAN_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    # No test may reach the network: what the set knows stays, the addresses do not.
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    benchmark = describe(name)
    assert not benchmark.present
    for ask in (settings_of(name).load, lambda: fetch(name)):
        with pytest.raises(DataError) as raised:
            ask()
        assert any(f"{file.name} is not in {tmp_path}" in str(raised.value) for file in benchmark.files)
        assert "AEGEAN_DATA" in str(raised.value)
        assert (
            ("cannot be fetched" in str(raised.value)) == (not benchmark.mirrors) == (name in ("tfd", "lfw", "celeba"))
        )


def test_what_can_be_fetched_is_checked():
    for benchmark in available():
        assert all(len(file.sha256 or "") == 64 for file in benchmark.files) or not benchmark.mirrors
