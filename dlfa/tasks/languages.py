"""What is known of languages: codes, name, family, genus, script, and how large their Wikipedia is.

The facts, their sources and definitions are in languages.yaml. It is no list of what may be used: people bring their
own treebanks, so a language that is not here has no family or size, and nothing else is different about it.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml

__all__ = ["LANGUAGES", "Language", "find_language", "genus", "load_languages"]


@dataclass(frozen=True, kw_only=True)
class Language:
    """One language; its fields are defined, with their sources, in the head of languages.yaml."""

    code: str
    """ISO 639-1 code, two letters: `de`."""

    code3: str
    """ISO 639-3 code, three letters, as the Tatoeba files have it: `deu`, `cmn`, `pes`."""

    name: str
    """English name, as in `udpos.German` of `google/xtreme`."""

    family: str
    """Top-level family: `Indo-European`. An isolate is a family of its own."""

    genus: str
    """Genus of WALS, within the family: `Germanic`."""

    script: str
    """ISO 15924 code of the script it is mostly written in: `Latn`."""

    wikipedia_bytes: int | None
    """Size of its Wikipedia in bytes (compressed dump of 2020-10-01); none: mBERT was not trained on it."""

    def __post_init__(self) -> None:
        assert re.fullmatch("[a-z]{2}", self.code), self
        assert re.fullmatch("[a-z]{3}", self.code3), self
        assert re.fullmatch("[A-Z][a-z]{3}", self.script), self
        for text in (self.name, self.family, self.genus):
            assert re.fullmatch("[A-Z][A-Za-z -]+", text), self
        size = self.wikipedia_bytes
        assert size is None or (type(size) is int and size > 0), self


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader lets the last of several equal keys win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        assert len(mapping) == len(node.value), f"a key twice: {node.start_mark}"
        return mapping


def load_languages(path: Path) -> Mapping[str, Language]:
    """Read a file of languages; it is ours, so a wrong one is a bug and no user's error.

    Args:
        path: YAML: for every ISO 639-1 code the other fields of `Language`.

    Returns:
        For every ISO 639-1 code its language, in the file's order.

    Raises:
        AssertionError: A key, code or name twice, or a value of the wrong form.
        TypeError: An unknown or missing field.
    """
    with path.open(encoding="utf-8") as file:
        entries = yaml.load(file, Loader=_Loader)  # noqa: S506 (a safe loader)
    languages = {code: Language(code=code, **fields) for code, fields in entries.items()}
    assert len(_by_any_name(languages)) == 3 * len(languages), f"{path}: two languages share a code or a name"
    return MappingProxyType(languages)


def find_language(name: str) -> Language | None:
    """Return the language of a code (ISO 639-1 or 639-3) or of an English name, such as `zh`, `cmn` or `Chinese`.

    Returns:
        None for a language that is not in the file; whether that matters is the caller's to say.
    """
    return _BY_ANY_NAME.get(name)


def genus(name: str) -> str | None:
    """Return the genus of a language by its code, which may have script and region: `zh-Hant`, `pt_br`.

    Returns:
        None for a language that is not in the file.
    """
    found = find_language(name) or find_language(re.split("[-_]", name)[0])
    return found.genus if found else None


def _by_any_name(languages: Mapping[str, Language]) -> dict[str, Language]:
    return {name: each for each in languages.values() for name in (each.code, each.code3, each.name)}


LANGUAGES: Final = load_languages(Path(__file__).with_name("languages.yaml"))
"""For every ISO 639-1 code its language."""

_BY_ANY_NAME: Final = _by_any_name(LANGUAGES)
