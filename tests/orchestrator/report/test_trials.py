import hashlib
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dlfa.errors import ConfigError, DataError
from dlfa.trial import EXAMPLES
from orchestrator.report.trials import COLUMNS, load, load_many

from .conftest import COMPLETE, CONFIRM, RUNNING, SEARCH, WriteSweep, dlfa, none, report, scores


def numbers(frame: pd.DataFrame, trial: str) -> list[tuple[Any, ...]]:
    """Return split, language, metric, step and value of a trial's rows, None for missing."""
    rows = frame[frame["trial"].eq(trial)][["split", "language", "metric", "step", "value"]]
    return [tuple(None if pd.isna(v) else v for v in row) for row in rows.astype(object).to_numpy()]


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p.relative_to(folder)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_a_real_study_becomes_one_row_per_number(write_sweep: WriteSweep) -> None:
    sweep = load(write_sweep())
    frame = sweep.frame
    assert sweep.name == "udpos-1"
    assert sweep.settings["encoder"] == "some/encoder"
    assert sweep.layers == (1, 2, 3, 4)
    assert {column: str(frame[column].dtype) for column in COLUMNS} == COLUMNS
    assert list(frame.columns) == [*COLUMNS, "head_learning_rate"]
    assert numbers(frame, "search-0001") == [
        ("selection", None, "f1", 2, 82.0),
        ("dev", "en", "f1", 2, 82.0),
        ("dev", "en", "accuracy", 2, 83.0),
        ("train", None, "loss", 2, 0.5),
        ("dev", "en", "f1", 10, 79.0),
        ("dev", "en", "accuracy", 10, 80.0),
        ("train", None, "loss", 10, 0.5),
        ("test", "de", "f1", 2, 60.0),
        ("test", "de", "accuracy", 2, 61.0),
        ("test", "en", "f1", 2, 90.0),
        ("test", "en", "accuracy", 2, 91.0),
        ("test", "fr", "f1", 2, 50.0),
        ("test", "fr", "accuracy", 2, 51.0),
        ("test", None, "avg", 2, 200 / 3),
        ("test", None, "avg_target", 2, 55.0),
        ("test", None, "worst", 2, 50.0),
        ("test", None, "gap", 2, 35.0),
    ]
    first = frame[frame["trial"].eq("search-0001")].drop(columns=["split", "language", "metric", "step", "value"])
    assert {key: None if pd.isna(value) else value for key, value in first.iloc[0].items()} == {
        "sweep": "udpos-1",
        "task": "udpos",
        "source_language": "en",
        "select_on": "source",
        "trial": "search-0001",
        "phase": "search",
        "number": 1,
        "state": "COMPLETE",
        "reason": None,
        "superseded": False,
        "seed": 1,
        "fusion": "dlfa",
        "fusion_layer": 1,
        "reduction_ratio": 16,
        "learning_rate": 2e-5,
        "head_learning_rate": 1e-4,
    }


def test_a_trial_without_any_number_has_one_row(write_sweep: WriteSweep) -> None:
    frame = load(write_sweep()).frame
    assert numbers(frame, "search-0003") == [(None, None, None, None, None)]
    assert frame.loc[frame["trial"].eq("search-0003"), ["state", "reason"]].to_numpy().tolist() == [
        ["FAIL", "CUDA out of\nmemory"]
    ]


def test_superseded_runs_stay_in_the_frame_and_are_marked(write_sweep: WriteSweep) -> None:
    frame = load(write_sweep()).frame
    assert list(frame.loc[frame["superseded"], "trial"].unique()) == ["confirm-0002"]


def test_every_run_counts_before_the_study_names_those_that_do(write_sweep: WriteSweep) -> None:
    frame = load(write_sweep(CONFIRM[:3], superseded=None)).frame
    assert not frame["superseded"].any()


def test_test_scores_and_values_of_unfinished_trials_are_not_read(write_sweep: WriteSweep) -> None:
    attrs = {"seed": 1, "report:1": report(70.0), "best_step": 1, "scores": scores(60.0)}
    frame = load(write_sweep([("search", RUNNING, None, dlfa(2), attrs)])).frame
    assert [row[0] for row in numbers(frame, "search-0000")] == ["dev", "dev", "train"]


@pytest.mark.parametrize("trials", [[], SEARCH[:1], [("search", RUNNING, None, {}, {})]])
def test_a_sweep_that_has_hardly_begun_loads(write_sweep: WriteSweep, trials: list[Any]) -> None:
    sweep = load(write_sweep(trials))
    assert sweep.frame["trial"].nunique() == len(trials)
    assert sweep.layers == ()
    assert {column: str(sweep.frame[column].dtype) for column in COLUMNS} == COLUMNS


def test_an_empty_database_is_a_sweep_without_trials(write_sweep: WriteSweep) -> None:
    folder = write_sweep([])
    (folder / "study.db").write_bytes(b"")
    assert load(folder).frame.empty
    assert (folder / "study.db").read_bytes() == b""


def test_loading_changes_nothing_in_the_folder(write_sweep: WriteSweep) -> None:
    folder = write_sweep()
    before = contents(folder)
    load(folder)
    assert set(before) == {"sweep.yaml", "study.db"}
    assert contents(folder) == before


def test_loading_works_while_the_driver_writes(write_sweep: WriteSweep) -> None:
    folder = write_sweep()
    driver = sqlite3.connect(folder / "study.db", isolation_level=None)
    driver.execute("BEGIN IMMEDIATE")
    driver.execute("DELETE FROM trial_user_attributes")
    assert numbers(load(folder).frame, "search-0002")[0] == ("dev", "en", "f1", 1, 70.0)
    driver.execute("ROLLBACK")
    driver.close()


def test_a_database_left_half_written_is_named_with_what_mends_it(write_sweep: WriteSweep) -> None:
    folder = write_sweep()
    driver = sqlite3.connect(folder / "study.db", isolation_level=None)
    driver.execute("PRAGMA cache_size=1")  # spills the unfinished transaction to the file
    driver.execute("BEGIN IMMEDIATE")
    driver.execute("CREATE TABLE big (x)")
    driver.executemany("INSERT INTO big VALUES (?)", [("x" * 500,)] * 2000)
    killed = folder.with_name("killed")
    shutil.copytree(folder, killed)
    driver.execute("ROLLBACK")
    driver.close()
    before = contents(killed)
    with pytest.raises(ConfigError) as error:
        load(killed)
    assert str(error.value) == (
        f"{killed}: study.db cannot be read: attempt to write a readonly database; "
        "dlfa-sweep --resume killed mends what a killed sweep left half-written"
    )
    assert "study.db-journal" in before
    assert contents(killed) == before


def test_a_file_that_is_no_database(write_sweep: WriteSweep) -> None:
    folder = write_sweep([])
    (folder / "study.db").write_text("not a database, but long enough to be read as one " * 30)
    with pytest.raises(ConfigError) as error:
        load(folder)
    assert str(error.value) == f"{folder}: study.db cannot be read: file is not a database"


def test_a_database_of_another_optuna(write_sweep: WriteSweep) -> None:
    folder = write_sweep()
    with sqlite3.connect(folder / "study.db") as database:
        database.execute("UPDATE version_info SET schema_version = 1")
        database.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    with pytest.raises(ConfigError, match=r"udpos-1: study\.db cannot be read: .*schema") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_a_path_with_characters_that_mean_something_in_a_uri(write_sweep: WriteSweep) -> None:
    folder = write_sweep(SEARCH[:1])
    renamed = folder.rename(folder.with_name("100% {done}? #1 ü"))
    assert load(renamed).frame["trial"].unique().tolist() == ["search-0000"]


def test_an_unknown_name_lists_the_sweeps_there_are(write_sweep: WriteSweep, tmp_path: Path) -> None:
    write_sweep([])
    write_sweep([], name="xnli-3")
    runs = tmp_path / "runs"
    (runs / "not-a-sweep").mkdir()
    with pytest.raises(ConfigError) as error:
        load(runs / "udpso-1")
    assert str(error.value) == (
        f"{runs}/udpso-1: no such sweep (did you mean udpos-1?); sweeps in {runs}: udpos-1, xnli-3"
    )
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "elsewhere" / "udpos-1")
    assert str(error.value) == (f"{tmp_path}/elsewhere/udpos-1: no such sweep; sweeps in {tmp_path}/elsewhere: none")


@pytest.mark.parametrize("name", ["sweep.yaml", "study.db"])
def test_a_folder_without_its_files(write_sweep: WriteSweep, name: str) -> None:
    folder = write_sweep([])
    (folder / name).unlink()
    with pytest.raises(ConfigError) as error:
        load(folder)
    assert str(error.value) == f"{folder}: not a sweep, or none that has begun: no {name} in it"
    assert not (folder / name).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "not a sweep's configuration; allowed: fields with values, data too"),
        ("data: here\n", "not a sweep's configuration; allowed: fields with values, data too"),
        ("name: a\n", "not a sweep's configuration: no task, encoder, data, select_on, provenance, data.path, "
         "data.source_language in it"),
        ("{name: a, task: upos, encoder: e, select_on: source, provenance: {}, data: {path: p, source_language: en}}",
         "task: 'upos' is not allowed; allowed: udpos, panx, xnli, pawsx"),
    ],
)  # fmt: skip
def test_a_configuration_of_something_else(write_sweep: WriteSweep, text: str, message: str) -> None:
    folder = write_sweep([])
    (folder / "sweep.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load(folder)
    assert str(error.value) == f"{folder}/sweep.yaml: {message}"


def test_yaml_that_does_not_parse_is_told_in_one_line(write_sweep: WriteSweep) -> None:
    folder = write_sweep([])
    (folder / "sweep.yaml").write_text("name: [a\ntask: b\n")
    with pytest.raises(ConfigError, match=r"udpos-1/sweep\.yaml: cannot be read as YAML: .*line 2") as error:
        load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (("confirm", COMPLETE, 82.0, dlfa(1), {"seed": 2, "scores": scores(61.0)}), "confirm-0004, confirm-0005"),
        (("confirm", COMPLETE, 82.0, none(), {"seed": 1, "scores": scores(61.0)}), "confirm-0000, confirm-0005"),
        (
            ("confirm", COMPLETE, 82.0, dlfa(1, reduction_ratio=8), {"seed": 3, "scores": scores(61.0)}),
            "confirm-0003, confirm-0004, confirm-0005",
        ),
    ],
)
def test_confirm_runs_that_contradict_each_other_are_refused(write_sweep: WriteSweep, run: Any, named: str) -> None:
    folder = write_sweep([*CONFIRM, run])
    with pytest.raises(DataError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder}: {named} contradict each other; allowed: one configuration per fusion and layer and one "
        "run of it per seed, all others superseded"
    )


def test_many_sweeps_are_read_once_each_and_every_wrong_name_is_told(write_sweep: WriteSweep, tmp_path: Path) -> None:
    write_sweep(SEARCH)
    write_sweep([], name="udpos-2")
    runs = tmp_path / "runs"
    assert [s.name for s in load_many(["udpos-2", "udpos-1", "udpos-2"], runs)] == ["udpos-2", "udpos-1"]
    with pytest.raises(ConfigError) as error:
        load_many(["a", "udpos-1", "b"], runs)
    assert str(error.value) == (
        f"{runs}/a: no such sweep; sweeps in {runs}: udpos-1, udpos-2; "
        f"{runs}/b: no such sweep; sweeps in {runs}: udpos-1, udpos-2"
    )


def write_examples(folder: Path, trial: str, right: Sequence[int]) -> None:
    """Write a run's examples of two languages, each example with so many of ten right; accuracy has all of them."""
    path = folder / "trials" / trial / EXAMPLES
    path.parent.mkdir(parents=True)
    rows = [
        (language, metric, example, 10 if metric == "accuracy" else value, 10)
        for language in ("de", "en")
        for metric in ("f1", "accuracy")
        for example, value in enumerate(right)
    ]
    columns = ["language", "metric", "example", "numerator", "denominator"]
    pd.DataFrame(rows, columns=columns).to_parquet(path)


def test_examples_of_the_runs_that_count_are_read_for_the_main_metric(write_sweep: WriteSweep) -> None:
    folder = write_sweep()
    assert load(folder).examples.empty
    for number, right in enumerate([(1, 2), (3, 4), (5, 5), (6, 7)]):  # confirm-0002 is superseded
        write_examples(folder, f"confirm-{number:04d}", right)
    examples = load(folder).examples
    assert list(examples.columns) == ["trial", "language", "example", "numerator", "denominator"]
    assert sorted(examples["trial"].unique()) == ["confirm-0000", "confirm-0001", "confirm-0003"]
    of_last = examples[examples["trial"].eq("confirm-0003")]
    assert of_last.drop(columns="trial").to_numpy().tolist() == [
        ["de", 0, 6, 10], ["de", 1, 7, 10], ["en", 0, 6, 10], ["en", 1, 7, 10],
    ]  # fmt: skip


def test_an_example_that_stands_twice_is_told(write_sweep: WriteSweep) -> None:
    folder = write_sweep()
    write_examples(folder, "confirm-0000", (1, 2))
    path = folder / "trials" / "confirm-0000" / EXAMPLES
    twice = pd.concat([pd.read_parquet(path)] * 2)
    twice.to_parquet(path)
    with pytest.raises(DataError, match=r"examples\.parquet: cannot be read \(an example stands there twice\)$"):
        load(folder)
    twice.assign(numerator="many").to_parquet(path)
    with pytest.raises(DataError, match=r"examples\.parquet: cannot be read \("):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing more", b"{}"])
def test_examples_that_cannot_be_read_are_told(write_sweep: WriteSweep, content: bytes) -> None:
    folder = write_sweep()
    path = folder / "trials" / "confirm-0000" / EXAMPLES
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load(folder)
    assert str(error.value).startswith(f"{path}: cannot be read (")
    assert "\n" not in str(error.value)
