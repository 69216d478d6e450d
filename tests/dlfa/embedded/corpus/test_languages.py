"""Every language file, tried on everything the corpus asks of it; faults in a file are named."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlfa.embedded.corpus import language as module
from dlfa.embedded.corpus import languages, load_language, parallel_sentences, tagged_sentences
from dlfa.embedded.corpus.check import problems
from dlfa.embedded.corpus.grammar import UPOS
from dlfa.embedded.corpus.language import read_language
from dlfa.errors import ConfigError, DataError

ALL = languages()
FILES = Path(module.__file__).with_name("languages")


def test_there_are_languages() -> None:
    assert {"en", "de", "fr", "zh"} <= set(ALL)


@pytest.mark.parametrize("code", ALL)
def test_rules_cover_everything(code: str) -> None:
    assert problems(load_language(code)) == []


@pytest.mark.parametrize("code", ALL)
def test_tags_are_valid_and_sentences_are_clean(code: str) -> None:
    for task in ("udpos", "panx"):
        for sentence in tagged_sentences(task, code, "test", 150):
            assert len(sentence.words) == len(sentence.tags)
            assert all(word and word == word.strip() and "+" not in word for word in sentence.words)
            assert "  " not in sentence.text
            assert not set(sentence.text) & set("_~<>{}/|")
            if task == "udpos":
                assert set(sentence.tags) <= UPOS
            else:
                assert all(re.fullmatch(r"O|[BI]-(PER|LOC|ORG)", tag) for tag in sentence.tags)
                before = "O"
                for tag in sentence.tags:
                    assert not tag.startswith("I-") or before[2:] == tag[2:]
                    before = tag


@pytest.mark.parametrize("code", ALL)
def test_retrieval_sentences_differ_in_every_language(code: str) -> None:
    sentences = list(parallel_sentences(code, 1000))
    assert len(set(sentences)) == len(sentences)


def test_unknown_language() -> None:
    with pytest.raises(ConfigError, match=r"language 'xx' is not in the controlled corpus; allowed: .*en"):
        load_language("xx")


def _without_concept(source: dict[str, Any]) -> None:
    del source["nouns"]["entries"]["teacher"]


def _with_unknown_concept(source: dict[str, Any]) -> None:
    source["nouns"]["entries"]["dragon"] = "dragon|s"


def _with_a_form_too_many(source: dict[str, Any]) -> None:
    source["verbs"]["entries"]["sleep"] = "sleep sleeps slept"


def _with_unknown_tag(source: dict[str, Any]) -> None:
    source["times"]["entries"]["today"] = "today/TIME"


def _with_unknown_feature(source: dict[str, Any]) -> None:
    source["rules"]["negation"] = {"negated": "not", "else": ""}


def _with_unknown_reference(source: dict[str, Any]) -> None:
    source["rules"]["agent"] = "{nounphrase}"


def _with_the_same_word_twice(source: dict[str, Any]) -> None:
    source["nouns"]["entries"]["cat"] = source["nouns"]["entries"]["dog"]


def _without_a_rule(source: dict[str, Any]) -> None:
    del source["rules"]["goal"]


def _with_an_unknown_paradigm(source: dict[str, Any]) -> None:
    source["nouns"]["entries"]["cat"] = "cat|z"


def _with_an_unknown_part(source: dict[str, Any]) -> None:
    source["colour"] = "red"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_concept, r"nouns: without teacher; allowed: all "),
        (_with_unknown_concept, r"nouns: dragon not in the inventory"),
        (_with_a_form_too_many, r"verbs.sleep: 'sleep sleeps slept'; allowed: base sg"),
        (_with_unknown_tag, r"times.today: word 'today/TIME' has no tag"),
        (_with_unknown_feature, r"rules.negation: feature 'negated' has a value nowhere"),
        (_with_unknown_reference, r"rules.agent: \{nounphrase\}; allowed: "),
        (_with_the_same_word_twice, r"nouns.cat: same words as dog"),
        (_without_a_rule, r"rules without goal"),
        (_with_an_unknown_paradigm, r"nouns.cat: paradigm 'z'; allowed: "),
        (_with_an_unknown_part, r"unknown colour; allowed: "),
    ],
)
def test_faulty_files_are_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    source = yaml.safe_load((FILES / "en.yaml").read_text())
    change(source)
    path = tmp_path / "en.yaml"
    path.write_text(yaml.safe_dump(source, allow_unicode=True, sort_keys=False))
    with pytest.raises(DataError, match=message):
        read_language(path)


def test_a_key_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "en.yaml"
    path.write_text("name: English\nname: German\n")
    with pytest.raises(DataError, match=r"en.yaml:2: 'name' a second time"):
        read_language(path)


def test_a_key_that_yaml_reads_as_something_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "en.yaml"
    path.write_text("name: English\ntags:\n  no: DET\n")
    with pytest.raises(DataError, match=r"en.yaml:3: 'no' is no text to YAML; allowed: text, in quotes if need be"):
        read_language(path)


def test_he_and_she_may_be_one_word(tmp_path: Path) -> None:
    source = yaml.safe_load((FILES / "en.yaml").read_text())
    source["pronouns"]["entries"]["she"] = source["pronouns"]["entries"]["he"]
    path = tmp_path / "en.yaml"
    path.write_text(yaml.safe_dump(source, allow_unicode=True, sort_keys=False))
    pronouns = read_language(path).sections["pronouns"].entries
    assert pronouns["he"] == pronouns["she"]


def test_a_case_that_no_rule_covers_is_a_problem(tmp_path: Path) -> None:
    source = yaml.safe_load((FILES / "en.yaml").read_text())
    source["rules"]["article"] = {"det=def": "the", "det=indef": "a", "det=this": "this", "det=count": ""}
    path = tmp_path / "en.yaml"
    path.write_text(yaml.safe_dump(source, allow_unicode=True, sort_keys=False))
    found = problems(read_language(path))
    assert any("rules.article: no alternative fits" in line and "det=bare" in line for line in found)


def test_a_negation_that_leaves_no_trace_is_a_problem(tmp_path: Path) -> None:
    source = yaml.safe_load((FILES / "en.yaml").read_text())
    source["rules"]["negation"] = ""
    path = tmp_path / "en.yaml"
    path.write_text(yaml.safe_dump(source, allow_unicode=True, sort_keys=False))
    assert any("negation leaves no trace in 'The " in line for line in problems(read_language(path)))
