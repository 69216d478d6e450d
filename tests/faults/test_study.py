"""A study that others hold: a second driver of the same sweep, and a lock that does not go away."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sweeps import Storage, assert_accounted, driving, space, states_of, with_faults

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

SPACE = space(trials=4, layers=2, confirm_seeds=1, epochs=2)


def test_a_second_driver_is_refused_and_a_locked_study_stops_the_first_in_order(tmp_path: Path) -> None:
    storage, struck = Storage.make(tmp_path, SPACE), tmp_path / "struck"
    folder = storage.folder / "held"
    environment = with_faults(struck, {"layer": 0, "does": "wait", "times": 1})
    with driving(storage.command("--name", "held", "--pruner", "none"), environment) as driver:
        driver.until("search-0000 report 1/3")
        before = (folder / "sweep.yaml").read_bytes()

        second = storage.resume("held", "--trials", "6")
        assert second.returncode == 2, second.stdout + second.stderr
        assert second.stderr.startswith("dlfa-sweep: --resume: 'held' is being run already (process ")
        assert second.stderr.count("\n") == 1
        assert (folder / "sweep.yaml").read_bytes() == before, "it has changed nothing"

        with closing(sqlite3.connect(folder / "study.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            (struck / "go").touch()
            code = driver.end()  # after more than the minute that a driver waits for a lock
    assert code == 1, driver.printed
    assert "stopped: the sweep's folder can't be written to (database is locked)" in driver.printed
    assert f"once that is mended, resume with: dlfa-sweep --resume held --storage {storage.folder}" in driver.printed

    done = storage.resume("held")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(folder, search=4)
    assert states_of(folder, "search") == {"COMPLETE": 4}, "no trial's fault"
