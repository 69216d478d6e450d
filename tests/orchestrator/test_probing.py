"""`dlfa-report --equilibrium`: the layers of real encoders, measured once and reported from then on."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from sweeps import Storage, entry, run, space

from dlfa.data.sources import Sentence, open_source
from dlfa.tasks import TASKS
from orchestrator.cli import report_main

pytestmark = pytest.mark.slow

_CODES = {"de": "deu", "fr": "fra", "en": "eng"}


def _texts(data: Path, language: str) -> list[str]:
    examples = open_source(data, TASKS["udpos"]).read(language, "dev")
    return [" ".join(example.words) for example in examples if isinstance(example, Sentence)]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A sweep of the toy, and sentences in pairs: German ones with themselves, French ones with any."""
    root = tmp_path_factory.mktemp("probing")
    storage = Storage.make(root, space(trials=10, layers=5, confirm_seeds=2, epochs=1), before=("taskset", "-c", "0"))
    done = storage.run("--name", "toy")
    assert done.returncode == 0, done.stdout + done.stderr
    parallel = root / "parallel"
    parallel.mkdir()
    for language, english in (("de", "de"), ("fr", "en")):
        stem = f"tatoeba.{_CODES[language]}-eng"
        for side, lines in ((_CODES[language], _texts(storage.data, language)), ("eng", _texts(storage.data, english))):
            (parallel / f"{stem}.{side}").write_text("".join(f"{line}\n" for line in lines))
    return storage


def _report(storage: Storage, *flags: str) -> tuple[int, str, str]:
    done = run([*storage.before, *entry("report"), "toy", "--storage", str(storage.folder), *flags])
    return done.returncode, done.stdout, done.stderr


def _measured(storage: Storage) -> dict[str, pd.DataFrame]:
    files = sorted((storage.folder / "toy" / "probing").glob("*"))
    return {path.stem: pd.read_parquet(path) for path in files}


def test_measured_once_and_reported_from_then_on(storage: Storage, tmp_path: Path) -> None:
    folder, parallel = storage.folder / "toy", str(storage.folder.parent / "parallel")
    assert "Layers of the encoder" not in _report(storage)[1]
    code, out, err = _report(storage, "--equilibrium", "--parallel", parallel, "--probe-limit", "20")
    assert code == 0, err
    found = _measured(storage)
    assert set(found) == {"pretrained", "baseline", "dlfa"}
    runs = {name: measured.attrs["trial"] for name, measured in found.items()}
    assert runs["pretrained"] is None
    kept = sorted(path.parent.name for path in (folder / "trials").glob("*/model"))
    assert kept == sorted([runs["baseline"], runs["dlfa"]])
    assert len({measured.attrs["encoder"] for measured in found.values()}) == 3
    assert set(found["dlfa"]["layer"].dropna()) == set(range(7))
    is_german = found["dlfa"]["language"].eq("de") & found["dlfa"]["measure"].eq("retrieval")
    rows = found["dlfa"][is_german & found["dlfa"]["layer"].eq(0)]
    assert rows["numerator"].tolist() == [2.0] * 20  # of sentences that are their own translations

    # Each encoder has measures of its own, though the data is the same.
    assert len({_upos(measured, 6) for measured in found.values()}) == 3

    assert "Layers of the encoder of sweep toy (udpos)" in out
    assert "encoder pretrained, dlfa: predicted layer" in out
    assert "layers measured on" in out
    assert "equilibrium and target score over 5 layers" in out
    again = _report(storage, "--equilibrium", "--parallel", parallel, "--probe-limit", "20")
    assert again[2].count("measured before, on the same data") == 3
    assert again[1] == out
    assert _report(storage)[1] == out

    code, _, err = _report(storage, "--out", str(tmp_path / "all"))
    assert code == 0, err
    table = pd.read_csv(tmp_path / "all" / "equilibrium.csv")
    assert table["encoder"].value_counts().to_dict() == {"pretrained": 7, "baseline": 7, "dlfa": 7}
    assert table.groupby("encoder")["selected"].sum().to_dict() == {"pretrained": 1, "baseline": 1, "dlfa": 1}
    best = pd.read_csv(tmp_path / "all" / "best_layers.csv").dropna(subset="fusion_layer")
    ours = table[table["encoder"].eq("dlfa")].dropna(subset="target")
    assert ours["target"].tolist() == pytest.approx(best["avg_target"].tolist())
    assert (tmp_path / "all" / "equilibrium.png").stat().st_size > 10_000
    assert "equilibrium" in json.loads((tmp_path / "all" / "report.json").read_text())["sweeps"][0]["tables"]


def _upos(measured: pd.DataFrame, layer: int) -> float:
    rows = measured[measured["measure"].eq("upos") & measured["layer"].eq(layer)]
    return float(rows["numerator"].sum() / rows["denominator"].sum())


def test_other_data_is_measured_anew(storage: Storage) -> None:
    parallel = str(storage.folder.parent / "parallel")
    code, out, err = _report(storage, "--equilibrium", "--parallel", parallel, "--probe-limit", "10", "--format", "csv")
    assert code == 0, err
    assert "measured before" not in err
    assert out.startswith("fusion,fusion_layer,")  # what is said meanwhile is no part of the table
    assert {measured.attrs["limit"] for measured in _measured(storage).values()} == {10}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--equilibrium"],
            "--parallel: missing, and DATA does not tell; allowed: hub, embedded, or a folder",
        ),
        (
            ["--equilibrium", "--parallel", "nowhere"],
            "--parallel: 'nowhere' is not allowed; allowed: hub, embedded, or a folder",
        ),
        (
            ["--equilibrium", "--parallel", "embedded", "--treebanks", "nowhere"],
            "--treebanks: 'nowhere' is not allowed; allowed: hub, embedded, or a folder",
        ),
        (
            ["--parallel", "embedded", "--probe-limit", "5"],
            "--parallel, --probe-limit: not allowed alone; allowed: with --equilibrium",
        ),
        (
            ["--equilibrium", "--parallel", "DATA"],
            "DATA: no parallel sentences of en and any of de, es, fr; allowed: tatoeba.XXX-YYY.XXX and .YYY, a "
            "sentence per line, or folders tatoeba.XXX of Parquet files (google/xtreme)",
        ),
    ],
)
def test_wrong_flags(storage: Storage, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(storage.data)
    given = [data if flag == "DATA" else flag for flag in flags]
    assert report_main(["toy", "--storage", str(storage.folder), *given]) == 2
    assert capsys.readouterr() == ("", f"dlfa-report: {message.replace('DATA', data)}\n")


def test_without_kept_models_only_the_pretrained_encoder_is_measured(storage: Storage, tmp_path: Path) -> None:
    copy = Storage(tmp_path / "runs", storage.data, storage.encoder, storage.space, storage.before)
    shutil.copytree(storage.folder / "toy", copy.folder / "toy")
    shutil.rmtree(copy.folder / "toy" / "probing", ignore_errors=True)
    for model in (copy.folder / "toy" / "trials").glob("*/model"):
        shutil.rmtree(model)
    code, out, err = _report(copy, "--equilibrium", "--parallel", "embedded", "--probe-limit", "10")
    assert code == 0, err
    assert set(_measured(copy)) == {"pretrained"}
    assert err.count("no model was kept") == 2
    assert "parallel sentences of de, es, fr" in out


def test_measures_of_a_run_that_is_no_longer_the_best_are_left_out(storage: Storage, tmp_path: Path) -> None:
    copy = Storage(tmp_path / "runs", storage.data, storage.encoder, storage.space, storage.before)
    shutil.copytree(storage.folder / "toy", copy.folder / "toy")
    path = copy.folder / "toy" / "probing" / "dlfa.parquet"
    if not path.exists():  # where this test runs alone
        assert _report(copy, "--equilibrium", "--parallel", "embedded", "--probe-limit", "10")[0] == 0
    measured = pd.read_parquet(path)
    measured.attrs["trial"] = "confirm-0999"
    measured.to_parquet(path)
    out = _report(copy)[1]
    assert "dlfa: measured on another run than the best one now; left out" in out
    assert "encoder dlfa, dlfa: predicted layer" not in out
    path.write_bytes(b"no parquet")
    code, out, err = _report(copy)
    assert code == 1 or code == 2
    assert "dlfa.parquet: cannot be read" in err
