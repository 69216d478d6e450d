"""Data that goes away or changes while a sweep runs."""

import shutil
from pathlib import Path

import pytest
from sweeps import Fault, Storage, assert_accounted, driving, space, states_of, with_faults

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

SPACE = space(trials=4, layers=2, confirm_seeds=1, epochs=2)


def test_a_sweep_stops_when_its_data_is_no_longer_what_it_began_with(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    folder, test_set = storage.folder / "data", storage.data / "de" / "de_toy-test.conllu"
    kept = shutil.copy(test_set, tmp_path)

    def stopped(command: list[str], struck: Path, change: str) -> str:
        # Two trials wait, one of each slot; what they meet then, every trial after them would meet, too.
        waiting: list[Fault] = [{"layer": layer, "does": "wait", "times": 1} for layer in range(3)]
        with driving(command, with_faults(struck, *waiting)) as driver:
            for _ in range(2):  # each has read its data then
                driver.until("report 1/3")
            if change == "removed":
                test_set.unlink()
            else:
                shutil.copy(kept, test_set)
                with test_set.open("a") as file:
                    file.write("1\tx\t_\tNOUN" + 6 * "\t_" + "\n\n")
            (struck / "go").touch()
            assert driver.end() == 1, driver.printed
        states = states_of(folder, "search")
        assert states["RUNNING"] == states["FAIL"] == 0, "it is no trial's fault"
        return driver.printed

    printed = stopped(storage.command("--name", "data", "--pruner", "none"), tmp_path / "first", "removed")
    assert f"stopped: {test_set}: No such file or directory; " in printed
    shutil.copy(kept, test_set)
    printed = stopped(storage.resuming("data"), tmp_path / "second", "longer")
    assert f"stopped: {storage.data}: the test set of 'de' (de_toy-test.conllu) has changed meanwhile (on " in printed

    refused = storage.resume("data")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"{storage.data} has changed since the sweep began (de test; fingerprints in " in refused.stderr

    shutil.copy(kept, test_set)
    done = storage.resume("data")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(folder, search=4)
    assert states_of(folder, "search") == {"COMPLETE": 4}
