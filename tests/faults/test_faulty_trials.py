"""Trials that are killed, hang or fail, in whole sweeps of the real command."""

import subprocess

import pytest
from sweeps import Fault, Storage, assert_accounted, space, states_of, trials_of, with_faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Every layer is tried, one after the other; nothing is pruned, so that every trial meets its fault.
SPACE = space(trials=10, layers=5, confirm_seeds=0, epochs=1, ratios=(2,))


def _run(storage: Storage, name: str, faults: list[Fault], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        storage.command("--name", name, "--pruner", "none", "--sampler", "random", *flags),
        env=with_faults(storage.folder.parent / f"struck-{name}", *faults),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage.make(tmp_path_factory.mktemp("faulty"), SPACE)


def test_faults_of_trials_are_survived_or_recorded_and_told(storage: Storage) -> None:
    undisturbed = _run(storage, "undisturbed", [])
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    faults: list[Fault] = [
        {"layer": 0, "does": "fill", "times": 1},
        {"layer": 1, "does": "kill", "times": 1},
        {"layer": 2, "does": "hang", "times": 1},
        {"layer": 3, "does": "raise", "times": 1},
        {"layer": 4, "does": "kill", "times": 99},
        {"layer": 5, "does": "diverge", "times": 1},
    ]
    done = _run(storage, "faulty", faults, "--report-timeout", "20s")
    folder = storage.folder / "faulty"
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(folder, search=10)
    assert states_of(folder, "search") == {"COMPLETE": 7, "FAIL": 3}

    for trial, expected in zip(
        trials_of(folder, "search"), trials_of(storage.folder / "undisturbed", "search"), strict=True
    ):
        assert trial.params == expected.params
        layer = trial.params.get("fusion_layer", 0)
        if layer in (1, 2):  # killed or hung once: what nothing disturbed
            assert trial.user_attrs.get("restarts", 0) == 1
            assert trial.intermediate_values == expected.intermediate_values
            assert trial.user_attrs["scores"] == expected.user_attrs["scores"]
    # A baseline's batch did not fit the memory: since then it passes in halves.
    baselines = [trial for trial in trials_of(folder, "search") if trial.params["fusion"] == "none"]
    reports = [trial.user_attrs["report:3"] for trial in baselines]
    assert sorted(report["train/micro_batch_size"] for report in reports) == [4, 8, 8, 8, 8]
    assert {trial.user_attrs.get("restarts", 0) for trial in baselines} == {0}
    by_layer = {t.params.get("fusion_layer", 0): t for t in trials_of(folder, "search")}
    trials = folder / "trials"
    assert by_layer[3].user_attrs["reason"] == "ZeroDivisionError: an injected fault"
    assert "in _raise" in (trials / f"search-{by_layer[3].number:04d}" / "error.txt").read_text()
    assert by_layer[4].user_attrs["reason"].startswith("its process died 4 times: killed or crashed")
    assert by_layer[5].user_attrs["reason"] == "training: loss nan with gradient norm nan is not finite"
    assert by_layer[5].intermediate_values.keys() == {1, 2}
    hang = trials / f"search-{by_layer[2].number:04d}" / "hang-1.txt"
    assert "in _hang" in hang.read_text()
    assert f"its process died: no report in 20s (where it hung: {hang}); it starts again" in done.stdout
    assert f"search-{by_layer[3].number:04d} FAILED: ZeroDivisionError: an injected fault" in done.stdout
    assert "1 search trial failed: ZeroDivisionError: an injected fault (the first one's files: " in done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


@pytest.mark.chaos
def test_when_the_first_trials_all_fail_alike_the_sweep_stops(storage: Storage) -> None:
    faults: list[Fault] = [{"layer": layer, "does": "raise", "times": 99} for layer in range(6)]
    done = _run(storage, "alike", faults)
    folder = storage.folder / "alike"
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stopped: the first 3 trials all failed alike: ZeroDivisionError: an injected fault" in done.stdout
    assert f"the first one's files: {folder / 'trials' / 'search-0000'}" in done.stdout
    assert f"resume with: dlfa-sweep --resume alike --storage {storage.folder}" in done.stdout
    states = states_of(folder, "search")
    assert states["FAIL"] == 3
    assert states["RUNNING"] == 0
