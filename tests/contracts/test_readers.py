"""What every reader of labelled text does, whichever layout it reads, for every task that the layout can hold."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import examples as learnable
from tiny import write_encoder

from dlfa.cli import main
from dlfa.data.sources import Example, Pair, Sentence, Source, open_source
from dlfa.data.sources.detect import LAYOUTS
from dlfa.errors import DataError
from dlfa.tasks import TASKS, Kind, TaskSpec


@dataclass(frozen=True, kw_only=True)
class Factory:
    """Writes examples of one kind in one layout, as plainly as the layout can be written."""

    file: str
    """Path below the root, with places for language and split."""

    render: Callable[[Sequence[Any]], bytes]
    place: Callable[[Sequence[Any], int, int], str]
    """How messages name the place of a word, or of a pair, in a file: from the examples and both indices."""

    splits: Mapping[str, str] = field(default_factory=dict)
    """What the layout calls a split, where it has a name of its own for it."""

    unlabelled: bool = False
    """Whether a file can lack labels."""

    text: bool = True
    """Whether it is made of lines."""


def conllu(sentences: Sequence[Sentence]) -> bytes:
    return word_lines(sentences, lambda n, word, tag: f"{n}\t{word}\t_\t{tag}\t_\t_\t0\troot\t_\t_")


def iob2(sentences: Sequence[Sentence]) -> bytes:
    return word_lines(sentences, lambda n, word, tag: f"{n}\t{word}\t{tag}\t-\t-")


def words_and_tags(sentences: Sequence[Sentence]) -> bytes:
    return word_lines(sentences, lambda n, word, tag: word if tag is None else f"{word}\t{tag}")


def word_lines(sentences: Sequence[Sentence], line: Callable[[int, str, str | None], str]) -> bytes:
    return "".join(
        "".join(
            line(n, word, tag) + "\n"
            for n, (word, tag) in enumerate(zip(s.words, s.tags or [None] * len(s.words), strict=True), start=1)
        )
        + "\n"
        for s in sentences
    ).encode()


def word_line(sentences: Sequence[Sentence], number: int, word: int) -> str:
    return f":{sum(len(s.words) + 1 for s in sentences[:number]) + word + 1}"


def pair_lines(pairs: Sequence[Pair]) -> bytes:
    return "".join(
        "\t".join(column for column in (p.first, p.second, p.label) if column is not None) + "\n" for p in pairs
    ).encode()


def pawsx(pairs: Sequence[Pair]) -> bytes:
    rows = [f"{n}\t{p.first}\t{p.second}\t{p.label}\n" for n, p in enumerate(pairs, start=1)]
    return "".join(["id\tsentence1\tsentence2\tlabel\n", *rows]).encode()


def rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [
        {"id": n, "words": list(e.words), "tags": None if e.tags is None else list(e.tags)}
        if isinstance(e, Sentence)
        else {"label": e.label, "sentence1": e.first, "sentence2": e.second, "note": None}
        for n, e in enumerate(examples)
    ]


def json_lines(examples: Sequence[Example]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(examples)).encode()


def parquet(examples: Sequence[Example]) -> bytes:
    table = pa.Table.from_pylist(rows(examples))
    if not examples:
        columns = ("words", "tags", "sentence1", "sentence2", "label")
        table = pa.table({column: pa.array([], pa.string()) for column in columns})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def nth_line(examples: Sequence[Example], number: int, word: int) -> str:
    return f":{number + 1}"


def nth_row(examples: Sequence[Example], number: int, word: int) -> str:
    return f": row {number + 1}"


XTREME = Factory(file="{split}-{language}.tsv", render=words_and_tags, place=word_line, unlabelled=True)
JSONL = Factory(file="{split}-{language}.jsonl", render=json_lines, place=nth_line, unlabelled=True)
PARQUET = Factory(file="{split}-{language}.parquet", render=parquet, place=nth_row, unlabelled=True, text=False)
FACTORIES: dict[tuple[str, Kind], Factory] = {
    ("CoNLL-U folders", "tagging"): Factory(
        file="{language}/{language}_gsd-{split}.conllu", render=conllu, place=word_line
    ),
    ("IOB2 folders", "tagging"): Factory(file="{language}/{language}_gsd-{split}.iob2", render=iob2, place=word_line),
    ("PAWS-X x-final", "pair"): Factory(
        file="{language}/{split}.tsv",
        render=pawsx,
        place=lambda pairs, number, word: nth_line(pairs, number + 1, word),
        splits={"dev": "dev_2k", "test": "test_2k"},
    ),
    ("XTREME download", "tagging"): XTREME,
    ("XTREME download", "pair"): replace(XTREME, render=pair_lines, place=nth_line),
    ("JSON lines", "tagging"): JSONL,
    ("JSON lines", "pair"): JSONL,
    ("Parquet", "tagging"): PARQUET,
    ("Parquet", "pair"): PARQUET,
}


@dataclass(frozen=True)
class Case:
    """A layout under a task that it can hold the examples of."""

    layout: str
    task: TaskSpec

    def __str__(self) -> str:
        return f"{self.layout}-{self.task.name}"

    @property
    def factory(self) -> Factory:
        return FACTORIES[self.layout, self.task.kind]

    @property
    def examples(self) -> list[Example]:
        return examples(self.task)

    def path(self, root: Path, language: str, split: str) -> Path:
        split = self.factory.splits.get(split, split)
        return root / self.factory.file.format(language=language, split=split)

    def write(self, root: Path, language: str, split: str, content: bytes | None = None) -> Path:
        path = self.path(root, language, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.factory.render(self.examples) if content is None else content)
        return path

    def open(self, root: Path) -> Source:
        return open_source(root, self.task)


ODD = ["می\u200cروم", "#", '"', 'a ""b"', "a\u2028b", "c\x85d", "e\x0bf", "e\u0301t\u00e9", "\u200b", "\u00a0", "NS"]
"""Verbatim, whichever the layout: quotes, line ends that are none, decomposed letters, nothing but zero width."""


def examples(task: TaskSpec) -> list[Example]:
    """Three examples with every label of the task."""
    if task.kind == "pair":
        labels = cycle(task.labels)
        return [
            Pair(a, b, next(labels))
            for a, b in [("Il coûte 10 000 €", "C'est cher ."), *zip(ODD, ODD[::-1], strict=True)]
        ]
    words = [*ODD, *(f"w{n}" for n in range(len(task.labels)))]
    return [
        Sentence(("Il", "coûte", "10 000", "€"), tuple(islice(cycle(task.labels), 4))),
        Sentence(("né",), (task.labels[-1],)),
        Sentence(tuple(words), tuple(islice(cycle(task.labels), len(words)))),
    ]


CASES = [Case(layout.name, task) for layout in LAYOUTS for task in TASKS.values() if task.kind in layout.kinds]
LINES = pytest.mark.parametrize("case", [case for case in CASES if case.factory.text], ids=str)
WITHOUT_LABELS = pytest.mark.parametrize("case", [case for case in CASES if case.factory.unlabelled], ids=str)
PAIRS = pytest.mark.parametrize("case", [case for case in CASES if case.task.kind == "pair"], ids=str)
ONE_TASK_PER_KIND = [case for case in CASES if case.task.name in ("udpos", "xnli")]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return cast(Case, request.param)


@pytest.fixture
def root(case: Case, tmp_path: Path) -> Path:
    """English with all splits, German without train, Arabic with test alone."""
    for language, splits in {"ar": ["test"], "en": ["train", "dev", "test"], "de": ["dev", "test"]}.items():
        for split in splits:
            case.write(tmp_path, language, split)
    return tmp_path


def fault(case: Case, root: Path) -> str:
    """Return the message that reading English's dev set ends with."""
    with pytest.raises(DataError) as caught:
        case.open(root).read("en", "dev")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_every_layout_is_under_contract_with_every_kind() -> None:
    assert list(FACTORIES) == [
        (layout.name, kind) for layout in LAYOUTS for kind in ("tagging", "pair") if kind in layout.kinds
    ]
    assert {case.task.name for case in CASES} == set(TASKS)


def test_source_names_its_layout_and_folder(case: Case, root: Path) -> None:
    source = open_source(str(root), case.task)
    assert (source.layout, source.root) == (case.layout, root)


def test_languages_are_sorted_and_complete(case: Case, root: Path) -> None:
    assert case.open(root).languages() == ("ar", "de", "en")


def test_codes_with_script_and_region_are_languages(case: Case, root: Path) -> None:
    codes = ["yue", "zh-CN", "zh-Hant", "pt_br", "sr_Latn_RS", "es-419"]
    for language in codes:
        case.write(root, language, "test")
    source = case.open(root)
    assert source.languages() == tuple(sorted(["ar", "de", "en", *codes]))
    assert source.read("es-419", "test") == case.examples


def test_what_is_no_language_beside_languages_is_no_silent_gap(case: Case, root: Path) -> None:
    for language in ("Chinese", "EN", "z", "zh-CN-x", "UD_Chinese-GSD"):
        path = case.write(root, language, "test")
        with pytest.raises(DataError) as caught:
            case.open(root)
        message = str(caught.value)
        assert message.startswith(f"{path}: {language!r} is no language; allowed: ")
        assert message.endswith(", languages like de, zh-CN, pt_br")
        path.unlink()


def test_files_of_a_split(case: Case, root: Path) -> None:
    source = case.open(root)
    assert source.files("en", "dev") == (case.path(root, "en", "dev"),)
    assert source.files("ar", "dev") == ()
    assert source.files("xx", "test") == ()


def test_what_is_written_is_read_twice(case: Case, root: Path) -> None:
    source = case.open(root)
    assert source.read("en", "train") == case.examples
    assert source.read("en", "train") == case.examples
    assert source.read("ar", "test") == case.examples


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_same_content_is_the_same_in_every_layout(task: TaskSpec, tmp_path: Path) -> None:
    read = {}
    for case in (case for case in CASES if case.task == task):
        case.write(tmp_path / case.layout, "en", "train")
        source = case.open(tmp_path / case.layout)
        read[source.layout] = source.read("en", "train")
    assert len(read) >= 4
    assert all(content == examples(task) for content in read.values())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_same_content_gets_the_same_scores_in_every_layout(task: TaskSpec, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder", layers=2)
    sets = {("en", "train"): 120, ("en", "dev"): 9, ("en", "test"): 10, ("de", "test"): 11}
    found = {}
    for case in (case for case in CASES if case.task == task):
        data, out = tmp_path / case.layout, tmp_path / f"{case.layout} out"
        for seed, ((language, split), count) in enumerate(sets.items()):
            case.write(data, language, split, case.factory.render(learnable(task, count, seed)))
        flags = "--fusion-layer 1 --reduction-ratio 2 --learning-rate 3e-3 --epochs 4 --batch-size 8 --reports 1"
        where = ["--data", str(data), "--encoder", str(encoder), "--out", str(out), "--cache", str(tmp_path / "cache")]
        assert main(["--task", task.name, *flags.split(), *where, "--max-length", "16", "--threads", "1"]) == 0
        files = [out / "predictions" / task.name / f"test-{language}.tsv" for language in ("en", "de")]
        scores = json.loads((out / "scores.json").read_text())["scores"]
        found[case.layout] = (scores, *(file.read_bytes() for file in files))
        assert len(set(files[1].read_text("utf-8").split())) > 1, "more than one label predicted"
    assert len(found) >= 4
    assert all(result == found["XTREME download"] for result in found.values())


@LINES
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.rstrip(b"\n"),
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: b"\n\n" + content.replace(b"\n\n", b"\n\n\n") + b"\n",
        lambda content: b"\xef\xbb\xbf\r\n" + content.replace(b"\n", b"\r\n"),
    ],
    ids=["no line end at the end", "CRLF", "byte order mark", "more empty lines", "all of them"],
)
def test_ways_to_write_the_same_file(case: Case, root: Path, change: Callable[[bytes], bytes]) -> None:
    case.write(root, "en", "dev", change(case.factory.render(case.examples)))
    assert case.open(root).read("en", "dev") == case.examples


def test_missing_split_names_what_exists(case: Case, root: Path) -> None:
    source = case.open(root)
    with pytest.raises(DataError) as caught:
        source.read("de", "train")
    assert str(caught.value) == (
        f"{source.root}: no train split of language 'de'; 'de' has dev, test; languages here: ar, de, en"
    )


def test_missing_language_names_what_exists(case: Case, root: Path) -> None:
    source = case.open(root)
    with pytest.raises(DataError) as caught:
        source.read("xx", "test")
    assert str(caught.value) == (
        f"{source.root}: no test split of language 'xx'; 'xx' has no split; languages here: ar, de, en"
    )


def without_labels(given: Sequence[Example]) -> list[Example]:
    return [replace(e, tags=None) if isinstance(e, Sentence) else replace(e, label=None) for e in given]


@WITHOUT_LABELS
def test_test_files_alone_may_lack_labels(case: Case, root: Path) -> None:
    content = case.factory.render(without_labels(case.examples))
    for split in ("dev", "test"):
        case.write(root, "en", split, content)
    assert case.open(root).read("en", "test") == without_labels(case.examples)
    assert fault(case, root) == (
        f"{case.path(root, 'en', 'dev')}: no labels in a dev file; only test files may lack them"
    )


@WITHOUT_LABELS
@pytest.mark.parametrize("first", ["with", "without"])
def test_labels_in_some_places_only(case: Case, root: Path, first: str) -> None:
    mixed = [*case.examples[:1], *without_labels(case.examples[1:])]
    mixed = mixed if first == "with" else [*without_labels(case.examples[:1]), *case.examples[1:]]
    path = case.write(root, "en", "dev", case.factory.render(mixed))
    assert fault(case, root).startswith(f"{path}{case.factory.place(mixed, 1, 0)}: ")


FAULTS = [
    ("label", "_", None),
    ("case", "Noun", None),
    ("no label", "", None),
    ("ends in a space", "{label} ", None),
    ("no word", None, ""),
    ("blank", None, "  "),
]


@pytest.mark.parametrize(("label", "text"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_error_names_file_and_line(case: Case, root: Path, label: str | None, text: str | None) -> None:
    labels = case.task.labels
    label = None if label is None else label.format(label=labels[0])
    bad: Example
    if case.task.kind == "tagging":
        bad = Sentence(("ok", "bad" if text is None else text), (labels[0], labels[0] if label is None else label))
        message = f"tag {label!r} is not allowed; allowed: {', '.join(labels)}"
        empty = f"word {text!r} is empty; allowed: one or more characters"
    else:
        bad = Pair("ok", "bad" if text is None else text, labels[0] if label is None else label)
        message = f"label {label!r} is not allowed; allowed: {', '.join((*labels, *case.task.aliases))}"
        empty = f"second sentence {text!r} is empty; allowed: one or more characters"
    written = [case.examples[0], bad, case.examples[1]]
    path = case.write(root, "en", "dev", case.factory.render(written))
    assert fault(case, root) == f"{path}{case.factory.place(written, 1, 1)}: {message if text is None else empty}"


@PAIRS
def test_other_names_of_labels_become_the_tasks(case: Case, root: Path) -> None:
    for other, label in case.task.aliases.items():
        case.write(root, "en", "dev", case.factory.render([Pair("a", "b", other)]))
        assert case.open(root).read("en", "dev") == [Pair("a", "b", label)]


def test_labels_of_another_task_are_an_error_at_the_first_of_them(case: Case, root: Path) -> None:
    for task in TASKS.values():
        if task.kind == case.task.kind and not set(task.labels) & set(case.task.labels):
            with pytest.raises(DataError) as caught:
                open_source(root, task).read("en", "dev")
            place = case.factory.place(case.examples, 0, 0)
            assert str(caught.value).startswith(f"{case.path(root, 'en', 'dev')}{place}: ")
            assert str(caught.value).endswith(f"is not allowed; allowed: {', '.join((*task.labels, *task.aliases))}")


def test_examples_of_another_kind_are_never_read(case: Case, root: Path) -> None:
    for task in TASKS.values():
        if task.kind != case.task.kind:
            with pytest.raises(DataError) as caught:
                open_source(root, task).read("en", "train")
            assert str(caught.value).startswith(str(root))


def test_no_example_in_a_file(case: Case, root: Path) -> None:
    path = case.write(root, "en", "dev", case.factory.render([]))
    assert fault(case, root) == f"{path}: no example in this file; allowed: one or more"


@LINES
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\r\n"])
def test_nothing_in_a_file(case: Case, root: Path, content: bytes) -> None:
    path = case.write(root, "en", "dev", content)
    assert fault(case, root) == f"{path}: no example in this file; allowed: one or more"


@LINES
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "after a byte order mark"])
def test_not_utf8_names_line_and_byte(case: Case, root: Path, mark: bytes) -> None:
    good = mark + case.factory.render(case.examples[:1])
    path = case.write(root, "en", "dev", good + "é".encode("latin-1"))
    line = good.count(b"\n") + 1
    assert fault(case, root) == f"{path}:{line}: byte 0xe9 at offset {len(good)} is not UTF-8"


def test_unreadable_file(case: Case, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the mode of a file would not stop root
    path = case.path(root, "en", "dev")
    assert fault(case, root) == f"{path}: Permission denied; allowed: a file that can be read"


def test_file_that_went_away(case: Case, root: Path) -> None:
    source = case.open(root)
    path = case.path(root, "en", "test")
    path.unlink()
    with pytest.raises(DataError) as caught:
        source.read("en", "test")
    assert str(caught.value) == f"{path}: No such file or directory; allowed: a file that can be read"


def test_link_to_nowhere_is_found_and_said(case: Case, root: Path) -> None:
    path = case.path(root, "en", "dev")
    path.unlink()
    path.symlink_to(root / "nowhere")
    assert fault(case, root) == f"{path}: No such file or directory; allowed: a file that can be read"


def test_folder_with_a_files_name(case: Case, root: Path) -> None:
    path = case.path(root, "en", "dev")
    path.unlink()
    path.mkdir()
    assert fault(case, root) == f"{path}: a folder; allowed: a file of this name"


def test_hidden_files_are_left_alone(case: Case, root: Path) -> None:
    path = case.path(root, "en", "dev")
    (path.parent / f"._{path.name}").write_bytes(b"\xff")
    assert case.open(root).read("en", "dev") == case.examples


# Surrogates have no UTF-8; U+FEFF at a file's start is no text; \t, \n and \r are the layouts' own.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\ufeff"), min_size=1).filter(
    lambda text: text.strip(" ") != ""
)


def any_example(task: TaskSpec) -> st.SearchStrategy[Example]:
    labels = st.sampled_from(task.labels)
    if task.kind == "pair":
        return st.builds(Pair, texts, texts, labels)
    return st.lists(st.tuples(texts, labels), min_size=1).map(
        lambda pairs: Sentence(tuple(word for word, _ in pairs), tuple(tag for _, tag in pairs))
    )


@pytest.mark.parametrize("case", ONE_TASK_PER_KIND, ids=str)
def test_fuzz_any_content_reads_back(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    case.write(folder, "en", "train")
    source = case.open(folder)

    @given(st.lists(any_example(case.task), min_size=1))
    @example(case.examples)
    @settings(deadline=None, max_examples=40)
    def check(written: list[Example]) -> None:
        case.write(folder, "en", "train", case.factory.render(written))
        assert source.read("en", "train") == written

    check()


# Pieces that look like a file reach deeper than bytes drawn evenly.
junk = st.sampled_from(
    [b"1", b"1-2", b"0.1", b"9" * 5000, b"\t", b"\n", b"\r\n", b"\n\n", b"#", b"_", b'"', b"[" * 5000, b"{}", b"null"]
    + [b"NaN", b'\\ud800"', b'"words":', b'"label":', b"id\tsentence1\tsentence2\tlabel\n", b"\xef\xbb\xbf"]
    + [conllu([Sentence(("w",), ("X",))]).replace(b"1", n.encode(), 1) for n in ("1", "2", "1-2", "0.1", "²")]
) | st.binary(max_size=4)


@pytest.mark.parametrize("case", ONE_TASK_PER_KIND, ids=str)
def test_fuzz_any_bytes_read_or_raise_data_error(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    good = case.factory.render(case.examples)
    path = case.write(folder, "en", "test")
    source = case.open(folder)
    place = st.integers(0, len(good))
    damaged = st.tuples(place, junk, place).map(lambda cut: good[: cut[0]] + cut[1] + good[cut[2] :])

    @given(st.one_of(st.binary(), st.lists(junk).map(b"".join), damaged))
    @settings(deadline=None, max_examples=150)
    def check(content: bytes) -> None:
        case.write(folder, "en", "test", content)
        try:
            read = source.read("en", "test")
        except DataError as error:
            message = str(error)
        else:
            assert read
            for entry in read:
                if isinstance(entry, Sentence):
                    assert entry.words
                    assert entry.tags is None or len(entry.tags) == len(entry.words)
                    assert set(entry.tags or ()) <= set(case.task.labels)
                    "".join(entry.words).encode()
                else:
                    assert entry.label is None or entry.label in case.task.labels
                    (entry.first + entry.second).encode()
            return
        assert message.startswith(f"{path}:")
        assert len(message.splitlines()) == 1

    check()
