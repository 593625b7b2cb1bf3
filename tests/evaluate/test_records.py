import datetime
import json
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.errors import ConfigError, DataError
from aegean.evaluate.records import (
    RunRecord,
    Statistic,
    markdown_table,
    read_records,
    render_benchmarks,
    render_epochs,
    render_tables,
    summarise,
    write_record,
)


def record(recipe="pixelgan-mnist-100", seed=0, **changes):
    given = {
        "recipe": recipe,
        "kind": "stabilised",
        "seed": seed,
        "epochs": 30,
        "steps": 15_000,
        "minutes": 42.125,
        "hardware": "2 cores of a CPU, bfloat16",
        "threads": 2,
        "python": "3.11.9",
        "torch": "2.13.0",
        "aegean": "0.1.0",
        "commit": "123e45678901",
        "metrics": {"error_percent": 1.0 + seed / 10, "nmi": 0.97},
        "command": f"aegean train {recipe} --seed {seed}",
        "date": datetime.date(2025, 3, 1),
    }
    return RunRecord(**{**given, **changes})


RECORDS = [record(seed=seed) for seed in range(3)] + [record("aae-mnist-100", kind="faithful")]


def test_records_come_back_as_they_were_written(tmp_path):
    for item in reversed(RECORDS):
        path = write_record(tmp_path, item)
        assert path == tmp_path / item.recipe / f"seed-{item.seed}.json"
    assert read_records(tmp_path) == sorted(RECORDS, key=lambda item: (item.recipe, item.seed))
    assert json.loads(path.read_text())["commit"] == "123e45678901"
    assert [file.name for file in tmp_path.rglob("*.json")] == [file.name for file in tmp_path.rglob("*.*")]


def test_a_new_record_of_the_same_seed_replaces_the_old_one(tmp_path):
    write_record(tmp_path, record(minutes=1))
    write_record(tmp_path, record(minutes=2))
    assert [item.minutes for item in read_records(tmp_path)] == [2]


def test_no_folder_no_records(tmp_path):
    assert read_records(tmp_path / "results") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "../escape"}, "recipe"),
        ({"kind": "lucky"}, "kind"),
        ({"seed": -1}, "seed"),
        ({"metrics": {}}, "metrics"),
        ({"metrics": {"error_percent": float("nan")}}, "finite"),
        ({"minutes": float("inf")}, "minutes"),
    ],
)
def test_impossible_records_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        record(**change)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", DataError, "not a record"),
        ("[" * 100_000, DataError, "not a record"),
        ("[1]", ConfigError, "expected keys"),
        (json.dumps({**record().to_dict(), "luck": 1}), ConfigError, "unknown key 'luck'"),
        (json.dumps(record(seed=1).to_dict()), DataError, "move it where it belongs"),
        (json.dumps(record("other").to_dict()), DataError, "move it where it belongs"),
        ("1" * 1_000_001, DataError, "larger than"),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, error, message):
    path = tmp_path / "pixelgan-mnist-100" / "seed-0.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_records(tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_mean_and_standard_deviation_of_a_sample(values):
    result = summarise([record(seed=i, metrics={"nats": value}) for i, value in enumerate(values)])["nats"]
    assert result.count == len(values)
    assert result.mean == pytest.approx(statistics.mean(values), abs=1e-6)
    assert result.std == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "one recipe"),
        ([record(), record("aae-mnist-100")], "one recipe"),
        ([record(), record(seed=1, kind="faithful")], "one kind"),
        ([record(), record()], "twice"),
        ([record(), record(seed=1, metrics={"nmi": 0.5})], "seed 1 has no 'error_percent'"),
    ],
)
def test_only_all_seeds_of_one_recipe_have_a_mean(records, message):
    with pytest.raises(DataError, match=message):
        summarise(records)


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (1.0849, 0.1532, "1.08 ± 0.15"),
        (5.27, 1.81, "5.3 ± 1.8"),
        (340.3, 20.4, "340 ± 20"),
        (0.97123, 0.00456, "0.9712 ± 0.0046"),
        (3.0, 0.0, "3.000 ± 0"),
        (0.02516, 0.0, "0.02516 ± 0"),
        (81.9364, None, "81.94 (one seed)"),
        (0.0, None, "0.00 (one seed)"),
        (-12345.6, None, "-12346 (one seed)"),
    ],
)
def test_figures_are_printed_to_the_places_they_are_known(mean, std, text):
    assert str(Statistic(mean, std, 2)) == text


def test_the_table_states_the_conditions():
    table = markdown_table(RECORDS, ["error_percent"], {"aae-mnist-100": {"error_percent": "1.90 ± 0.10"}})
    lines = table.splitlines()
    assert lines[0] == "| Recipe | Kind | Metric | Paper | Ours |"
    assert lines[2] == "| pixelgan-mnist-100 | stabilised | error percent |  | 1.10 ± 0.10 |"
    assert lines[3].endswith("| 1.90 ± 0.10 | 1.000 (one seed) |")
    assert lines[4] == ""
    assert lines[5] == (
        "- pixelgan-mnist-100: 3 seeds, 30 epochs, 42.1 minutes each on 2 cores of a CPU, bfloat16, 2 threads. "
        "`aegean train pixelgan-mnist-100 --seed 0`"
    )
    assert lines[6].startswith("- aae-mnist-100: 1 seed, ")
    assert len(lines) == 7
    assert "Paper" not in markdown_table(RECORDS)
    assert len(markdown_table(RECORDS).splitlines()) == 9


def test_a_table_shows_different_conditions_and_keeps_its_cells():
    runs = [record(hardware="a | b"), record(seed=1, epochs=50, hardware="c", threads=1)]
    conditions = markdown_table(runs, ["nmi"]).splitlines()[-1]
    assert "30 to 50 epochs" in conditions
    assert "on a | b, 2 threads; c, 1 thread." in conditions


@pytest.mark.parametrize(
    ("seeds", "typed", "shown"),
    [
        ((0, 1, 2), "--seeds 1", "--seeds 3"),
        ((0, 1), "--seeds 1 --first 0 --baselines", "--seeds 2 --baselines"),
        ((2, 3), "--seeds 1 --first 2", "--seeds 2 --first 2"),
        ((0, 2), "--seeds 1", "--seeds 1"),  # what was typed: no command gives these two alone
    ],
)
def test_the_command_gives_all_seeds_however_they_were_run(seeds, typed, shown):
    runs = [record(seed=seed, command=f"aegean reproduce NAME {typed}") for seed in seeds]
    assert f"`aegean reproduce NAME {shown}`" in markdown_table(runs)


def test_a_table_without_its_metric_is_refused():
    with pytest.raises(DataError, match=r"has none of nats; on record: error_percent, nmi"):
        markdown_table(RECORDS, ["nats"])
    with pytest.raises(DataError, match="no records"):
        markdown_table([])


DOCUMENT = """# Results
<!-- results:pixelgan-* aae-mnist-100 | error_percent -->
stale
<!-- /results -->
Between.
<!-- results:aae-mnist-100 --><!-- /results -->
End.
"""


def test_marked_places_are_filled_and_the_rest_stays():
    text = render_tables(DOCUMENT, RECORDS)
    assert "stale" not in text
    first = markdown_table(RECORDS, ["error_percent"])
    second = markdown_table([RECORDS[3]])
    assert text == (
        f"# Results\n<!-- results:pixelgan-* aae-mnist-100 | error_percent -->\n{first}\n<!-- /results -->\n"
        f"Between.\n<!-- results:aae-mnist-100 -->\n{second}\n<!-- /results -->\nEnd.\n"
    )
    assert render_tables(text, RECORDS) == text
    assert render_tables(text, [*RECORDS, record(seed=3)]) != text
    assert render_tables("no marks", RECORDS) == "no marks"


@pytest.mark.parametrize("patterns", ["pixelgan-* aae-mnist-100", "pixelgan-* *", "pixelgan-* aae-* *-100"])
def test_a_recipe_that_several_patterns_name_is_shown_once(patterns):
    text = f"<!-- results:{patterns} --><!-- /results -->"
    assert markdown_table(RECORDS) in render_tables(text, RECORDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- results:aae-* -->", "needs one"),
        ("<!-- results:aae-* --> <!-- results:aae-* --> <!-- /results -->", "needs one"),
        ("<!-- results:aae-* --> <!-- /results --> <!-- /results -->", "needs one"),
        ("<!-- results:  --><!-- /results -->", "no records"),
    ],
)
def test_bad_marks_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        render_tables(text, RECORDS)


def test_errors_by_epoch_are_means_over_all_seeds_at_round_epochs_and_the_last(tmp_path):
    """Figure 7 of the PixelGAN paper as a table."""
    curve = {epoch: 60.0 / epoch for epoch in range(1, 13)}
    records = [
        record(seed=0, errors_by_epoch=curve),
        record(seed=1, errors_by_epoch={epoch: value + 2 for epoch, value in curve.items() if epoch != 2}),
        record("pixelgan-mnist-20", errors_by_epoch={1: 70.0, 3: 50.0}),
        record("pixelgan-mnist-50"),  # nobody looked
    ]
    text = "<!-- epochs:pixelgan-mnist-20 pixelgan-* -->\nold\n<!-- /epochs -->"
    rendered = render_epochs(text, records)
    assert rendered.splitlines()[1:-1] == [
        "| Epoch | pixelgan-mnist-20 | pixelgan-mnist-100 |",
        "| --- | ---: | ---: |",
        "| 1 | 70.00 (one seed) | 61.0 ± 1.4 |",
        "| 3 | 50.00 (one seed) | 21.0 ± 1.4 |",
        "| 5 |  | 13.0 ± 1.4 |",
        "| 10 |  | 7.0 ± 1.4 |",
        "| 12 |  | 6.0 ± 1.4 |",
    ]
    assert render_epochs(rendered, records) == rendered
    assert render_epochs(text, RECORDS) == text
    write_record(tmp_path, records[0])
    assert read_records(tmp_path)[0].errors_by_epoch == curve


def test_benchmarks_are_filled_in_from_their_record(tmp_path):
    text = "<!-- benchmark:speed -->\nold\n<!-- /benchmark -->"
    assert render_benchmarks(text, tmp_path) == text
    environment = {"cores": 2, "processor": "a CPU", "torch": "2.13.0"}
    (tmp_path / "speed.json").write_text(json.dumps({"figures": {"ratio": 2.345}, "environment": environment}))
    rendered = render_benchmarks(text, tmp_path)
    assert "| ratio | 2.35 |" in rendered or "| ratio | 2.34 |" in rendered
    assert "2 cores of a CPU, torch 2.13.0." in rendered
    assert "old" not in rendered
    assert render_benchmarks(rendered, tmp_path) == rendered
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(DataError, match="not a record of a benchmark"):
        render_benchmarks(text, tmp_path)


def test_a_place_without_records_keeps_what_it_says():
    text = "<!-- results:vae -->\nNothing is recorded yet.\n<!-- /results -->"
    assert render_tables(text, RECORDS) == text
    assert render_tables(text, []) == text
