"""What users may give for data and encoder, as folders."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import dlfa.data.sources.hub
import dlfa.embedded.corpus
import dlfa.embedded.encoder
from dlfa.data.sources import open_source
from dlfa.embedded.corpus import languages
from dlfa.errors import ConfigError
from dlfa.inputs import EMBEDDED, HUB, data_folder, encoder_source, origin, probing_folders
from dlfa.model import encoder_shape, load_tokenizer
from dlfa.probing import read_parallel
from dlfa.tasks import TASKS, TaskSpec


def folder_of(
    data: str, task: TaskSpec, cache: Path, train: int | None = 6, evaluation: int | None = 3, source: str = "en"
) -> Path:
    return data_folder(data, task, cache, source_language=source, languages=(), train=train, evaluation=evaluation)


def test_a_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "treebanks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert folder_of("treebanks", TASKS["udpos"], tmp_path / "cache") == tmp_path / "treebanks"
    assert encoder_source("treebanks", tmp_path / "cache") == str(tmp_path / "treebanks")
    assert encoder_source("owner/name", tmp_path / "cache") == "owner/name"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("data", ["", "nowhere", "embeded"])
def test_what_is_no_folder_is_refused(data: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        folder_of(data, TASKS["udpos"], tmp_path)
    assert str(caught.value) == f"--data: {data!r} is not allowed; allowed: hub, embedded, or a folder"


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_embedded_corpus_is_read_like_any_folder(task: TaskSpec, tmp_path: Path) -> None:
    source = open_source(folder_of("embedded", task, tmp_path), task)
    assert source.languages() == tuple(sorted(languages()))
    assert len(source.read("en", "train")) == 6
    assert {len(source.read(code, split)) for code in languages() for split in ("dev", "test")} == {3}
    assert {part.name for part in source.root.parent.iterdir()} == {task.name}


def test_the_embedded_corpus_trains_on_any_of_its_languages(tmp_path: Path) -> None:
    task = TASKS["udpos"]
    source = open_source(folder_of("embedded", task, tmp_path, source="de"), task)
    assert len(source.read("de", "train")) == 6
    assert not source.files("en", "train")
    assert open_source(folder_of("embedded", task, tmp_path), task).files("en", "train")
    with pytest.raises(ConfigError) as caught:
        folder_of("embedded", task, tmp_path, source="xx")
    assert str(caught.value) == f"--source-lang: 'xx' is not allowed; allowed: {', '.join(languages())}"


def test_a_task_that_the_corpus_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        folder_of("embedded", TaskSpec(**(vars(TASKS["xnli"]) | {"name": "qnli"})), tmp_path)
    assert str(caught.value) == "--data: 'embedded' is not allowed for qnli; allowed: hub, or a folder"


def test_what_is_there_is_not_made_again_and_what_failed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder_of("embedded", TASKS["xnli"], tmp_path)

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dlfa.embedded.corpus, "write_corpus", full)
    assert folder_of("embedded", TASKS["xnli"], tmp_path) == first
    with pytest.raises(OSError, match="No space left"):
        folder_of("embedded", TASKS["pawsx"], tmp_path)
    assert [path.name for path in first.parent.parent.iterdir()] == [first.parent.name]


def test_another_size_is_another_folder(tmp_path: Path) -> None:
    found = {folder_of("embedded", TASKS["xnli"], tmp_path, train, 3) for train in (6, 7, 6)}
    assert len(found) == 2


def test_another_version_of_the_corpus_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder_of("embedded", TASKS["xnli"], tmp_path)
    package = tmp_path / "package"
    shutil.copytree(Path(str(dlfa.embedded.corpus.__file__)).parent, package)
    (package / "languages" / "de.yaml").write_text("changed")
    monkeypatch.setattr("dlfa.inputs.files", lambda name: package)
    assert folder_of("embedded", TASKS["xnli"], tmp_path) != before


def test_the_embedded_encoder_is_a_folder_like_any(tmp_path: Path) -> None:
    encoder = encoder_source("embedded", tmp_path)
    assert Path(encoder).parent == tmp_path
    assert encoder_shape(encoder).layers == 12
    assert load_tokenizer(encoder).tokenize("house")
    changed = (Path(encoder) / "config.json").stat().st_mtime_ns
    assert encoder_source("embedded", tmp_path) == encoder
    assert (Path(encoder) / "config.json").stat().st_mtime_ns == changed


def _probing(cache: Path, treebanks: str, parallel: str, source: str = "en") -> tuple[Path, Path]:
    return probing_folders(treebanks, parallel, cache, source_language=source, languages=["de", "vi", "xx"], limit=5)


def test_where_data_comes_from(tmp_path: Path) -> None:
    assert origin(folder_of("embedded", TASKS["xnli"], tmp_path), tmp_path) == EMBEDDED
    assert origin(tmp_path / "hub" / "google--xtreme@0123", tmp_path) == HUB
    assert origin(tmp_path / "treebanks", tmp_path) is None
    assert origin(Path("/data/hub/mine"), tmp_path) is None
    assert origin(tmp_path, tmp_path) is None


def test_the_embedded_corpus_for_probes_has_train_sets_and_translations(tmp_path: Path) -> None:
    treebanks, parallel = _probing(tmp_path, EMBEDDED, EMBEDDED)
    source = open_source(treebanks, TASKS["udpos"])
    assert {len(source.read(code, split)) for code in languages() for split in ("train", "test")} == {5}
    texts = read_parallel(parallel, "en", languages(), None)
    assert [text.language for text in texts] == sorted(set(languages()) - {"en"})
    assert {len(text.sentences) for text in texts} == {5}
    assert origin(treebanks, tmp_path) == EMBEDDED


def test_data_for_probes_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(task: TaskSpec, cache: Path, *, source_language: str, languages: Sequence[str]) -> Path:
        asked.append((task.name, source_language, languages))
        return cache / "hub" / task.name

    monkeypatch.setattr(dlfa.data.sources.hub, "fetch", fetch)
    assert _probing(tmp_path, HUB, HUB) == (tmp_path / "hub" / "udpos", tmp_path / "hub" / "tatoeba")
    # Tatoeba has English as the other side of every pair, and nothing of its own.
    assert asked == [("udpos", "en", ["de", "vi"]), ("tatoeba", "de", ["de", "vi"])]
    with pytest.raises(ConfigError, match="--parallel: 'hub' is not allowed for fr and de, vi, xx; allowed: embedded"):
        _probing(tmp_path, HUB, HUB, source="fr")


@pytest.mark.parametrize(
    ("treebanks", "parallel", "flag"), [("no", "hub", "treebanks"), ("embedded", "no", "parallel")]
)
def test_no_folder_of_data_for_probes(tmp_path: Path, treebanks: str, parallel: str, flag: str) -> None:
    with pytest.raises(ConfigError, match=f"--{flag}: 'no' is not allowed; allowed: hub, embedded, or a folder"):
        _probing(tmp_path, treebanks, parallel)


def test_far_too_many_generated_sentences_for_probes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--probe-limit: 100001 is not allowed with embedded data; allowed: 1\.\."):
        probing_folders(EMBEDDED, EMBEDDED, tmp_path, source_language="en", languages=["de"], limit=100_001)
