"""The real command on a toy: a whole sweep, interrupted ones, one out of time, one on a cluster of two nodes."""

import io
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from seqeval.metrics import accuracy_score, f1_score
from sweeps import Storage, assert_accounted, entry, interrupt, run, runs_of, space, states_of, trials_of

from orchestrator import report

pytestmark = pytest.mark.slow

SPACE = space(trials=8, layers=3, confirm_seeds=2, epochs=2)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage.make(tmp_path_factory.mktemp("sweeps"), SPACE)


@pytest.fixture(scope="module")
def finished(storage: Storage) -> tuple[Path, str]:
    """A sweep that ran undisturbed, and what it printed."""
    done = storage.run("--name", "whole")
    assert done.returncode == 0, done.stdout + done.stderr
    return storage.folder / "whole", done.stdout


def test_every_trial_is_in_study_mlflow_and_table(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    assert_accounted(folder, search=8)
    assert set(states_of(folder, "search")) <= {"COMPLETE", "PRUNED"}


def test_baseline_and_method_have_equal_shares_of_the_search(finished: tuple[Path, str]) -> None:
    trials = trials_of(finished[0], "search")
    assert [t.params["fusion"] for t in trials] == ["none", "dlfa"] * 4
    baselines = [t for t in trials if t.params["fusion"] == "none"]
    assert all("fusion_layer" not in t.params and "reduction_ratio" not in t.params for t in baselines)
    assert len({t.params["learning_rate"] for t in baselines}) == 4


def test_confirm_phase_gives_baseline_and_every_tried_layer_the_same_new_seeds(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    seeds: dict[int | None, set[int]] = {}
    for trial in trials_of(folder, "confirm"):
        seeds.setdefault(trial.params.get("fusion_layer"), set()).add(trial.user_attrs["seed"])
    assert seeds == {layer: {2, 3} for layer in (None, 1, 2, 3)}
    assert {trial.user_attrs["seed"] for trial in trials_of(folder, "search")} == {1}


@pytest.mark.filterwarnings("ignore:.* seems not to be NE tag")
def test_scores_recomputed_from_written_predictions_are_the_logged_ones(
    finished: tuple[Path, str], storage: Storage
) -> None:
    folder, _ = finished
    runs = runs_of(folder)
    for trial in trials_of(folder, "confirm"):
        name = f"confirm-{trial.number:04d}"
        for language in ("en", "de", "es", "fr"):
            gold = _gold(storage.data / language / f"{language}_toy-test.conllu")
            predictions = folder / "trials" / name / "predictions" / "udpos" / f"test-{language}.tsv"
            predicted = [block.split("\n") for block in predictions.read_text().strip().split("\n\n")]
            expected = {"f1": 100 * f1_score(gold, predicted), "accuracy": 100 * accuracy_score(gold, predicted)}
            for metric, value in expected.items():
                assert runs[name].data.metrics[f"test/{language}/{metric}"] == value
                assert trial.user_attrs["scores"][f"test/{language}/{metric}"] == value


def _gold(path: Path, column: int = 3) -> list[list[str]]:
    blocks = path.read_text().strip().split("\n\n")
    return [[line.split("\t")[column] for line in block.split("\n")] for block in blocks]


def test_mlflow_has_the_names_and_the_learning_curve(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    run = runs_of(folder)["confirm-0001"]
    assert set(run.data.params) == {"fusion", "fusion_layer", "reduction_ratio", "learning_rate", "seed"}
    for name in (
        "dev/en/f1",
        "test/avg",
        "test/avg_target",
        "test/worst",
        "test/gap",
        "test/near",
        "test/far",
        "test/enf",
        "train/loss",
    ):
        assert name in run.data.metrics
    trial = trials_of(folder, "confirm")[1]
    assert trial.intermediate_values.keys() == {1, 2, 3}
    assert trial.value == max(trial.intermediate_values.values())


def test_settings_reproduce_the_sweep(finished: tuple[Path, str], storage: Storage) -> None:
    settings = yaml.safe_load((finished[0] / "sweep.yaml").read_text())
    assert settings["space"] == SPACE
    assert settings["data"]["languages"] == ["de", "es", "fr"]
    assert {"torch", "ray", "optuna", "mlflow"} <= settings["provenance"]["versions"].keys()
    assert len(settings["data"]["fingerprints"]) == 6  # train, one dev set, four test sets


def test_nothing_unneeded_is_left(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    assert not list(folder.rglob("checkpoint.safetensors")), "checkpoints of ended trials"
    assert not (folder / "tune").exists()
    kept = {path.parents[1].name for path in folder.glob("trials/*/model/dlfa.json")}
    assert kept == set(report.model_runs(report.load(folder).frame).values())
    assert len(kept) == 2
    assert {path.parents[1].name for path in folder.rglob("*.safetensors")} == kept


def test_the_best_model_is_registered_and_predicts_what_its_trial_did(
    finished: tuple[Path, str], storage: Storage, tmp_path: Path
) -> None:
    folder, printed = finished
    done = run([*entry("report"), "whole", "--storage", str(storage.folder), "--register", "toy"])
    assert (done.returncode, done.stderr) == (0, "")
    *tables, told, how = done.stdout.splitlines()
    assert "\n".join(tables).strip() in printed
    table = report.best_layers(report.load(folder).frame)
    arms = table[table["fusion_layer"].isna() | table["selected"]].set_index("fusion_layer")["dev"]
    best = arms.idxmax()  # of equals the baseline, which is first
    arm = "the baseline" if pd.isna(best) else f"dlfa layer {best}"
    trial = report.model_runs(report.load(folder).frame)["baseline" if pd.isna(best) else "dlfa"]
    assert told.startswith(f"registered toy version 1: {trial} of sweep whole, {arm}, by mean dev f1: {arm} ")
    assert how.startswith("load it with: ")
    gold = _gold(storage.data / "de" / "de_toy-test.conllu", column=1)
    # In a process of its own, as the last line says.
    script = f"import json, mlflow, sys; {how.partition(': ')[2].replace('mlflow.pyfunc', 'loaded = mlflow.pyfunc')}\n"
    script += "import pandas as pd; found = loaded.predict(pd.DataFrame({'text': json.load(sys.stdin)}))\n"
    script += "print(json.dumps(found['labels'].tolist()))"
    text = json.dumps([" ".join(words) for words in gold])
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        input=text,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert elsewhere.returncode == 0, elsewhere.stderr
    written = (folder / "trials" / trial / "predictions" / "udpos" / "test-de.tsv").read_text("utf-8")
    assert json.loads(elsewhere.stdout) == [block.split("\n") for block in written.strip().split("\n\n")]
    assert_accounted(folder, search=8)  # the run of its trial is as it was


def test_prints_plain_lines_tables_and_the_commands_that_follow(finished: tuple[Path, str], storage: Storage) -> None:
    folder, printed = finished
    assert "\x1b" not in printed
    assert "no GPU in use" in printed
    assert f"dlfa-report whole --storage {storage.folder}" in printed
    assert f"mlflow ui --backend-store-uri sqlite:///{storage.folder}/mlflow.db" in printed
    again = run([*entry("report"), "whole", "--storage", str(storage.folder)])
    assert again.returncode == 0
    assert again.stdout.strip() in printed
    assert (folder / "reports" / "best_layers.tex").read_text().count(r"\begin{tabular}") == 1


def test_resuming_a_finished_sweep_runs_nothing_and_says_the_same(finished: tuple[Path, str], storage: Storage) -> None:
    folder, _ = finished
    before = {phase: states_of(folder, phase) for phase in ("search", "confirm")}
    tables = (folder / "reports" / "best_layers.csv").read_bytes()
    done = storage.resume("whole")
    assert done.returncode == 0, done.stderr
    assert "started" not in done.stdout
    assert {phase: states_of(folder, phase) for phase in ("search", "confirm")} == before
    assert (folder / "reports" / "best_layers.csv").read_bytes() == tables
    assert_accounted(folder, search=8)


def test_a_damaged_study_is_not_touched_and_the_message_says_what_is_safe(
    finished: tuple[Path, str], storage: Storage
) -> None:
    folder = storage.folder / "damaged"
    shutil.copytree(finished[0], folder)
    settings = (folder / "sweep.yaml").read_text()
    (folder / "sweep.yaml").write_text(settings.replace("name: whole", "name: damaged"))
    study = folder / "study.db"
    damaged = b"not what SQLite writes" + study.read_bytes()[100:]
    study.write_bytes(damaged)
    done = storage.resume("damaged")
    assert (done.returncode, done.stderr) == (
        2,
        f"dlfa-sweep: {study}: damaged (file is not a database), and not touched; what is safe: an earlier copy put "
        f"in its place, or a new sweep under another --name; what trials wrote is in {folder / 'trials'}\n",
    )
    assert study.read_bytes() == damaged
    told = run([*entry("report"), "damaged", "--storage", str(storage.folder)])
    assert told.returncode == 2
    assert "study.db cannot be read: file is not a database" in told.stderr


def test_time_budget_ends_the_search_and_more_time_goes_on_with_it(storage: Storage) -> None:
    folder = storage.folder / "short"
    done = storage.run("--name", "short", "--time-budget", "0.1s")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "time budget" in done.stdout
    assert "dlfa-sweep --resume short" in done.stdout
    assert states_of(folder, "search")["RUNNING"] == 0
    done = storage.resume("short", "--time-budget", "1h", "--trials", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(folder, search=4)


def test_two_tasks_are_interrupted_and_resumed_as_one_command(storage: Storage, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "udpos").symlink_to(storage.data)
    _write_panx(storage.data, root / "panx")
    command = [
        *(*entry("sweep"), "--task", "udpos", "--task", "panx", "--profile", "quickstart", "--name", "both"),
        *("--data", str(root), "--encoder", str(storage.encoder), "--storage", str(storage.folder)),
        *("--languages", "de", "--trials", "2", "--confirm-seeds", "1", "--train-limit", "96"),
    ]
    rest = interrupt(command, at="search-0000 report 1", number=signal.SIGTERM)
    assert f"resume with: dlfa-sweep --resume both-udpos both-panx --storage {storage.folder}\n" in rest
    assert "both-panx:" not in rest  # it has not begun

    done = storage.resume("both-udpos", "both-panx")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("both-udpos", "both-panx"):
        assert sum(states_of(storage.folder / name, "search").values()) == 2
    _, together = done.stdout.split("Best fusion layer of each sweep\n")
    assert together.index("both-udpos  udpos  f1") < together.index("both-panx   panx   f1")
    again = run([*entry("report"), "both-udpos", "both-panx", "--storage", str(storage.folder), "--format", "csv"])
    found = pd.read_csv(io.StringIO(again.stdout)).set_index("sweep")
    assert list(found.index) == ["both-udpos", "both-panx"]
    for name in found.index:
        table = pd.read_csv(storage.folder / name / "reports" / "best_layers.csv")
        assert found.loc[name, "baseline"] == table["avg_target"].iloc[0]
        assert found.loc[name, "fused"] == table.loc[table["selected"], "avg_target"].item()


def _write_panx(treebank: Path, folder: Path) -> None:
    """Names of the toy as persons, in XTREME's layout."""
    folder.mkdir()
    for path in treebank.glob("*/*.conllu"):
        language, split = path.parent.name, path.stem.rpartition("-")[2]
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
        lines = ["\t".join((row[1], "B-PER" if row[3] == "PROPN" else "O")) if len(row) > 1 else "" for row in rows]
        (folder / f"{split}-{language}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def cluster() -> Iterator[str]:
    """Two nodes with four logical GPUs each, on this machine."""
    from ray.cluster_utils import Cluster

    # No real devices: the trials compute on the CPU while they hold a logical GPU.
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 4, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=4, num_gpus=4)
        yield str(nodes.address)
    finally:
        nodes.shutdown()


def test_on_a_cluster_never_more_than_the_cap_is_used(storage: Storage, cluster: str) -> None:
    folder = storage.folder / "cluster"
    refused = storage.run("--name", "cluster", "--address", cluster, "--gpus", "9")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stdout + refused.stderr
    assert "--gpus: 9 is not allowed; allowed: 0..8, what the cluster at" in refused.stderr
    assert not folder.exists()

    sampler = subprocess.Popen(
        [sys.executable, "-c", _SAMPLE_GPUS, cluster], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    done = storage.run("--name", "cluster", "--address", cluster, "--gpus", "3", "--trials", "10")
    samples, _ = sampler.communicate("stop\n", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 trials at a time, 1 GPU and 2 CPUs each, on the cluster at" in done.stdout
    used = json.loads(samples)
    assert max(used) == 3, Counter(used)
    assert _peak(folder) == 3
    assert_accounted(folder, search=10)


_SAMPLE_GPUS = """
import json, sys, threading, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
stopped = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()
total, used = ray.cluster_resources()["GPU"], []
while not stopped.wait(0.2):
    used.append(round(total - ray.available_resources().get("GPU", 0)))
print(json.dumps(used))
"""


def _peak(folder: Path) -> int:
    """The most search trials at one moment, by the study's own times."""
    edges = []
    for trial in trials_of(folder, "search"):
        assert trial.datetime_start is not None
        assert trial.datetime_complete is not None
        edges += [(trial.datetime_start, 1), (trial.datetime_complete, -1)]
    running = peak = 0
    for _, change in sorted(edges):
        running += change
        peak = max(peak, running)
    return peak
