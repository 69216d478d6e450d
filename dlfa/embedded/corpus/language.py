"""One language of the controlled corpus: words with their forms, and rules, read from its YAML file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from dlfa.embedded.corpus.frames import ROLES
from dlfa.embedded.corpus.grammar import (
    UPOS,
    Form,
    Reference,
    Rule,
    Template,
    compile_rule,
    parse_form,
    parse_template,
    variables,
)
from dlfa.embedded.corpus.inventory import load_inventory, load_yaml
from dlfa.embedded.corpus.surface import Surface, read_surface
from dlfa.errors import ConfigError, DataError

__all__ = ["LEXICAL", "Entry", "Language", "Section", "languages", "load_language", "read_language"]

LEXICAL: Final[Mapping[str, tuple[str, ...]]] = {
    "noun": ("nouns",),
    "site": ("sites",),
    "verb": ("verbs",),
    "adj": ("adjectives",),
    "adverb": ("adverbs",),
    "time": ("times",),
    "number": ("numbers",),
    "pronoun": ("pronouns",),
    "given": ("given",),
    "surname": ("surnames",),
    "name": ("cities", "countries", "organisations"),
}
"""What a reference to a word is called in rules, and the sections it is looked up in."""

_TAGS = {"verb": "VERB", "adj": "ADJ", "adverb": "ADV", "number": "NUM", "pronoun": "PRON"}
_NAMES = {"given", "surnames", "cities", "countries", "organisations"}
_SECTION_KEYS = {"upos", "features", "forms", "key", "paradigms", "entries"}
_KEYS = {"name", "iso3", "tags", "rules", "surface"}
_STRUCTURE = {"first", "second", "a", "b"}
_FEATURES = {
    *("link", "part", "kind", "neg", "front", "very", "verb", "adverb", "time"),
    *("role", "head", "det", "class", "animate", "mass", "adj", "case", "num", "form", "gender"),
    *("concept", "coordinated", "number", "surname", "site"),
    *ROLES,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A word of one language: one way to say a concept."""

    features: Mapping[str, str]
    forms: Mapping[str, Form]


@dataclass(frozen=True, slots=True)
class Section:
    """All words of one kind."""

    key: Rule[str]
    """Chooses the name of the form; `$x` in it stands for the value of feature x."""

    entries: Mapping[str, Sequence[Entry]]
    """By concept: the usual word first, then a synonym where there is one."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """A language file, checked and compiled."""

    code: str
    """ISO 639-1, as in file names."""

    name: str
    """In English."""

    iso3: str
    """ISO 639-3, as Tatoeba's files are named."""

    sections: Mapping[str, Section]
    rules: Mapping[str, Rule[Template]]
    surface: Surface
    where: str
    """Its file, for messages."""


def languages() -> tuple[str, ...]:
    """Return the codes of all languages that the package has a file for, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


@cache
def load_language(code: str) -> Language:
    """Return a language of the package; the file is read once.

    Raises:
        ConfigError: There is no file for this language.
        DataError: The file is incomplete or wrong.
    """
    if code not in languages():
        raise ConfigError(f"language {code!r} is not in the controlled corpus; allowed: {', '.join(languages())}")
    return read_language(_folder() / f"{code}.yaml")


def _folder() -> Path:
    return Path(__file__).with_name("languages")


def read_language(path: Path) -> Language:
    """Return the language of a file; what the file must hold is told in `dlfa.embedded.corpus`.

    Raises:
        DataError: A part, a concept or a form is missing, unknown or malformed.
    """
    source = load_yaml(path)
    required = load_inventory().sections()
    if not isinstance(source, dict):
        raise DataError(f"{path}: {type(source).__name__}; allowed: a mapping")
    _check_keys(str(path), source, _KEYS | set(required))
    tags = source["tags"]
    for word, tag in tags.items():
        if tag not in UPOS:
            raise DataError(f"{path}: tags.{word}: {tag!r}; allowed: {', '.join(sorted(UPOS))}")
    sections = {name: _section(f"{path}: {name}", name, source[name], need, tags) for name, need in required.items()}
    rules = {
        name: compile_rule(f"{path}: rules.{name}", rule, lambda where, text: parse_template(where, text, tags))
        for name, rule in source["rules"].items()
    }
    language = Language(
        code=path.stem,
        name=source["name"],
        iso3=source["iso3"],
        sections=sections,
        rules=rules,
        surface=read_surface(f"{path}: surface", source["surface"]),
        where=str(path),
    )
    _check_rules(language)
    return language


def _check_keys(
    where: str, source: Mapping[str, Any], allowed: set[str], optional: frozenset[str] = frozenset()
) -> None:
    if unknown := sorted(set(source) - allowed):
        raise DataError(f"{where}: unknown {', '.join(unknown)}; allowed: {', '.join(sorted(allowed))}")
    if missing := sorted(allowed - optional - set(source)):
        raise DataError(f"{where}: without {', '.join(missing)}; allowed: all of {', '.join(sorted(allowed))}")


def _section(
    where: str, name: str, source: Mapping[str, Any], concepts: frozenset[str], tags: Mapping[str, str]
) -> Section:
    _check_keys(where, source, _SECTION_KEYS, frozenset(_SECTION_KEYS - {"entries"}))
    features = str(source.get("features", "")).split()
    forms = str(source.get("forms", "base")).split()
    paradigms = {key: str(line).split() for key, line in source.get("paradigms", {}).items()}
    for key, endings in paradigms.items():
        if len(endings) != len(forms):
            raise DataError(f"{where}.paradigms.{key}: {len(endings)} endings; allowed: {len(forms)}, one per form")
    tag = source.get("upos") or ("PROPN" if name in _NAMES else _TAGS.get(_reference(name), "NOUN"))
    lines = source["entries"]
    if missing := sorted(concepts - set(lines)):
        raise DataError(f"{where}: without {', '.join(missing)}; allowed: all {len(concepts)} concepts")
    if unknown := sorted(set(lines) - concepts):
        raise DataError(f"{where}: {', '.join(unknown)} not in the inventory; allowed: its concepts only")
    entries = {}
    for concept, line in lines.items():
        place = f"{where}.{concept}"
        if not isinstance(line, str):
            raise DataError(f"{place}: {line!r}; allowed: text, in quotes where YAML reads it as something else")
        entries[concept] = [
            _entry(
                place,
                part.split(),
                features,
                forms,
                paradigms,
                lambda text, place=place: parse_form(place, text, tag, tags),
            )
            for part in line.split(";")
        ]
    _check_distinct(where, name, entries)
    return Section(compile_rule(f"{where}.key", source.get("key", forms[0]), lambda _, text: text), entries)


def _reference(section: str) -> str:
    return next(name for name, sections in LEXICAL.items() if section in sections)


def _entry(
    where: str,
    columns: Sequence[str],
    features: Sequence[str],
    forms: Sequence[str],
    paradigms: Mapping[str, Sequence[str]],
    parse: Any,
) -> Entry:
    given = list(columns[len(features) :])
    if len(given) == 1 and "|" in given[0]:
        stem, _, paradigm = given[0].partition("|")
        if paradigm not in paradigms:
            raise DataError(f"{where}: paradigm {paradigm!r}; allowed: {', '.join(paradigms) or 'none is declared'}")
        given = [stem + ("" if ending == "." else ending) for ending in paradigms[paradigm]]
    if len(columns) < len(features) or len(given) != len(forms):
        expected = " ".join([*(f"<{name}>" for name in features), *forms])
        raise DataError(f"{where}: {' '.join(columns)!r}; allowed: {expected}, or a stem|paradigm for the forms")
    for i, form in enumerate(given):
        if form == "=":
            given[i] = given[i - 1]
    values = {name: value for name, value in zip(features, columns, strict=False) if value != "."}
    return Entry(values, {name: parse(form) for name, form in zip(forms, given, strict=True) if form != "."})


def _check_distinct(where: str, section: str, entries: Mapping[str, Sequence[Entry]]) -> None:
    """Two concepts with the same words would make equal sentences of different frames.

    Not so pronouns: many languages have one word for he and she, and no other words of the frame depend on it.
    """
    if section == "pronouns":
        return
    kinds = {name: verb.kind for part in load_inventory().verbs.values() for name, verb in part.items()}
    seen: dict[tuple[str, tuple[Form, ...]], str] = {}
    for concept, choices in entries.items():
        kind = kinds[concept] if section == "verbs" else ""
        other = seen.setdefault((kind, tuple(choices[0].forms.values())), concept)
        if other != concept:
            raise DataError(f"{where}.{concept}: same words as {other}; allowed: words of its own")


def _check_rules(language: Language) -> None:
    required = {"sentence", "clause", "np", "coordination", *ROLES}
    if missing := sorted(required - set(language.rules)):
        raise DataError(
            f"{language.where}: rules without {', '.join(missing)}; allowed: all of {', '.join(sorted(required))}"
        )
    known = set(language.rules) | set(LEXICAL) | _STRUCTURE
    features = set(_FEATURES)
    for name, section in language.sections.items():
        declared = {feature for choices in section.entries.values() for entry in choices for feature in entry.features}
        features |= declared | {f"{_reference(name)}.{feature}" for feature in declared}
    references = [reference for rule in language.rules.values() for reference in _references(rule)]
    features |= {name for reference in references for name, _ in reference.settings}
    features |= {f"{prefix}.{name}" for prefix in ("subj", "obj") for name in features}
    for rule in language.rules.values():
        for reference in _references(rule):
            if reference.name not in known:
                raise DataError(f"{rule.where}: {{{reference.name}}}; allowed: {', '.join(sorted(known))}")
            _check_features(
                rule.where, (name for _, value in reference.settings for name in variables(value)), features
            )
        _check_features(rule.where, rule.tested(), features)
    for section in language.sections.values():
        _check_features(section.key.where, section.key.tested(), features)
        _check_features(
            section.key.where, (name for leaf in section.key.leaves() for name in variables(leaf)), features
        )


def _references(rule: Rule[Template]) -> Iterator[Reference]:
    return (item for leaf in rule.leaves() for item in leaf if isinstance(item, Reference))


def _check_features(where: str, used: Iterator[str], known: set[str]) -> None:
    for name in used:
        if name not in known:
            raise DataError(f"{where}: feature {name!r} has a value nowhere; allowed: {', '.join(sorted(known))}")
