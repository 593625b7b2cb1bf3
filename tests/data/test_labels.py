from collections import Counter
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.data.labels import balanced_subset, labels_of, read_labels, stratified_split
from aegean.errors import DataError

quick = settings(max_examples=60, deadline=None)
some_labels = st.lists(st.integers(-1, 3), min_size=1, max_size=60).map(torch.tensor)


@quick
@given(labels=some_labels, seed=st.integers(0, 2**32))
def test_balanced_subset_has_as_many_of_every_class(labels, seed):
    classes = int(labels.max()) + 1
    fewest = min((int((labels == k).sum()) for k in range(classes)), default=0)
    chosen = balanced_subset(labels, fewest, seed)
    assert Counter(labels[chosen].tolist()) == Counter({k: fewest for k in range(classes) if fewest})
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(chosen, balanced_subset(labels, fewest, seed))
    fewer = balanced_subset(labels, fewest // 2, seed)
    assert set(fewer.tolist()) <= set(chosen.tolist())


def test_balanced_subset_is_random_over_the_whole_set():
    labels = torch.arange(1000) % 2
    subsets = [balanced_subset(labels, 50, seed).tolist() for seed in range(20)]
    assert len({tuple(subset) for subset in subsets}) == 20
    seen = torch.tensor(subsets).flatten().double()
    assert abs(float(seen.mean()) - 499.5) < 5 * 289 / 2000**0.5  # not the first of the file


def test_balanced_subset_names_the_class_and_both_numbers():
    labels = torch.tensor([0, 0, 0, 1, 1, -1])
    with pytest.raises(DataError, match=r"Class 'dog' has 2 labelled .* but 3 a class .*; ask for fewer"):
        balanced_subset(labels, 3, 0, ("cat", "dog"))
    with pytest.raises(DataError, match="'bird' has 0 labelled"):
        balanced_subset(labels, 1, 0, ("cat", "dog", "bird"))
    with pytest.raises(DataError, match="no image has a label; ask for 0"):
        balanced_subset(torch.tensor([-1, -1]), 1, 0)
    assert len(balanced_subset(torch.tensor([-1, -1]), 0, 0)) == 0


@quick
@given(labels=some_labels, shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), seed=st.integers(0, 2**32))
def test_split_is_disjoint_complete_and_in_proportion(labels, shares, seed):
    n = len(labels)
    sizes = [int(share * n) for share in shares]
    test, validation, rest = stratified_split(labels, sizes, seed)
    assert (len(test), len(validation)) == tuple(sizes)
    assert sorted(torch.cat([test, validation, rest]).tolist()) == list(range(n))
    for k in labels.unique():
        expected = sizes[0] * int((labels == k).sum()) / n
        assert abs(int((labels[test] == k).sum()) - expected) < 1


@quick
@given(labels=some_labels, seed=st.integers(0, 2**32))
def test_test_images_do_not_depend_on_the_validation_size(labels, seed):
    size = len(labels) // 3
    assert torch.equal(stratified_split(labels, [size, size], seed)[0], stratified_split(labels, [size], seed)[0])


def test_split_differs_by_seed_and_refuses_too_much():
    labels = torch.zeros(100, dtype=torch.int64)
    splits = {tuple(stratified_split(labels, [10], seed)[0].tolist()) for seed in range(10)}
    assert len(splits) == 10
    with pytest.raises(DataError, match=r"60 \+ 50 images .* only 100; hold out fewer"):
        stratified_split(labels, [60, 50], 0)


def write(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_read_labels(tmp_path):
    text = '\ufefflabel,File ,confidence\r\n cat ,a.png,0.9\r\n,b.png,\r\n-1,"c, d.png",\r\n'
    text += '\r\n"two\nlines",é.png,1\r\n'
    expected = {"a.png": "cat", "b.png": "", "c, d.png": "", "é.png": "two\nlines"}
    assert read_labels(write(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line must name the columns 'file' and 'label'"),
        ("a.png,cat\n", "first line must name"),
        ("file,label\na.png\n", "line 2: 1 values, but the header has 2"),
        ("file,label\na.png,cat\na.png,dog\n", r"line 3: 'a.png' is listed twice; keep one"),
        ('file,label\n"a.png,cat\n', r"line 2: not CSV .*expected lines such as"),
        ("file,label\n" + "a" * 200_000 + ",cat\n", "not CSV .field larger than"),
        (b"file,label\na.png,\xff\n", "line 2: not UTF-8 text; save"),
    ],
)
def test_bad_tables_name_the_file_and_a_remedy(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as raised:
        read_labels(path)
    assert str(path) in str(raised.value)


def test_a_table_too_large_and_a_missing_one(tmp_path, monkeypatch):
    path = write(tmp_path, "file,label\n" + "a.png,cat\n" * 10)
    monkeypatch.setattr("aegean.data.labels.MAX_CSV_BYTES", 50)
    with pytest.raises(DataError, match="larger than the 50 bytes"):
        read_labels(path)
    with pytest.raises(DataError, match=r"none.csv: cannot be read"):
        read_labels(tmp_path / "none.csv")


@settings(max_examples=150, deadline=None)
@given(
    raw=st.binary(max_size=80)
    | st.text(alphabet='file,label\n\r"\0x ', max_size=60).map(str.encode)
    | st.text(alphabet='a,"\n\r\0é', max_size=60).map(lambda rows: b"file,label\n" + rows.encode())
)
def test_random_bytes_give_a_table_or_a_data_error(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    path.write_bytes(raw)
    with suppress(DataError):
        assert all(isinstance(label, str) for label in read_labels(path).values())


def test_labels_of_unlisted_and_unknown_files():
    assert labels_of(["a", "b"], {"b": "cat"}, "x.csv") == ["", "cat"]
    with pytest.raises(DataError, match=r"x.csv: 'c' is not an image of the folder \(2 such lines\)"):
        labels_of(["a", "b"], {"b": "cat", "d": "", "c": "dog"}, "x.csv")
