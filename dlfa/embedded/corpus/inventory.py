"""The concepts that all languages of the controlled corpus share, and which of them each split may use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from dlfa.errors import DataError

__all__ = ["Adjective", "Inventory", "NounClass", "Pool", "Verb", "load_inventory", "load_yaml"]

Pool = Literal["train", "eval"]
_Pools = Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class NounClass:
    """Nouns that verbs and adjectives select together."""

    nouns: _Pools
    """By `train`, `eval`, `both`."""

    animate: bool = False
    mass: bool = False
    hypernym: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What can fill the roles of a verb: classes of nouns and of names."""

    agent: tuple[str, ...]
    patient: tuple[str, ...] = ()
    recipient: tuple[str, ...] = ()
    path: Literal["site", "city"] | None = None
    employer: bool = False
    stative: bool = False
    opposite: str | None = None

    @property
    def kind(self) -> Literal["intransitive", "transitive", "transfer", "motion", "employ"]:
        """Which roles it has."""
        if self.recipient:
            return "transfer"
        if self.patient:
            return "transitive"
        return "motion" if self.path else "employ" if self.employer else "intransitive"


@dataclass(frozen=True, kw_only=True)
class Adjective:
    """Classes of nouns that an adjective can modify, and what it excludes."""

    of: tuple[str, ...]
    opposite: str | None = None
    group: str | None = None
    gradable: bool = True


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All concepts; see inventory.yaml for what each part means."""

    classes: Mapping[str, NounClass]
    sites: frozenset[str]
    verbs: Mapping[str, Mapping[str, Verb]]
    """By `train`, `eval`, `both`, then by concept."""

    adjectives: Mapping[str, Mapping[str, Adjective]]
    adverbs: Mapping[str, _Pools]
    """By `frequency` and `manner`."""

    active: frozenset[str]
    times: _Pools
    numbers: tuple[str, ...]
    pronouns: tuple[str, ...]
    given: Mapping[str, _Pools]
    """By `male` and `female`."""

    surnames: _Pools
    cities: _Pools
    countries: _Pools
    organisations: _Pools

    @cached_property
    def class_of(self) -> Mapping[str, str]:
        """The class of each noun."""
        return {
            noun: name for name, entry in self.classes.items() for members in entry.nouns.values() for noun in members
        }

    def sections(self) -> Mapping[str, frozenset[str]]:
        """Return the concepts that each section of a language file must have."""
        return {
            **{
                section: frozenset(concept for part in parts for members in part.values() for concept in members)
                for section, parts in self._pools().items()
            },
            "sites": self.sites,
            "numbers": frozenset(self.numbers),
            "pronouns": frozenset(self.pronouns),
        }

    @cached_property
    def exclusive_to_eval(self) -> frozenset[tuple[str, str]]:
        """Section and concept of every word that train never uses."""
        return frozenset(
            (section, concept) for section, parts in self._pools().items() for part in parts for concept in part["eval"]
        )

    def _pools(self) -> Mapping[str, Sequence[_Pools]]:
        return {
            "nouns": [noun_class.nouns for noun_class in self.classes.values()],
            "verbs": [{pool: list(part) for pool, part in self.verbs.items()}],
            "adjectives": [{pool: list(part) for pool, part in self.adjectives.items()}],
            "adverbs": list(self.adverbs.values()),
            "times": [self.times],
            "given": list(self.given.values()),
            "surnames": [self.surnames],
            "cities": [self.cities],
            "countries": [self.countries],
            "organisations": [self.organisations],
        }


@cache
def load_inventory() -> Inventory:
    """Return the inventory that ships with the package."""
    source: dict[str, Any] = load_yaml(Path(__file__).with_name("inventory.yaml"))
    classes = {}
    for name, entry in source["nouns"].items():
        members = {pool: entry.pop(pool) for pool in ("train", "eval", "both")}
        classes[name] = NounClass(nouns=members, **entry)
    return Inventory(
        classes=classes,
        sites=frozenset(source["sites"]),
        verbs={pool: {name: _verb(entry) for name, entry in part.items()} for pool, part in source["verbs"].items()},
        adjectives={
            pool: {name: Adjective(**{**entry, "of": tuple(entry["of"])}) for name, entry in part.items()}
            for pool, part in source["adjectives"].items()
        },
        active=frozenset(source["active"]),
        numbers=tuple(source["numbers"]),
        pronouns=tuple(source["pronouns"]),
        **{
            name: source[name]
            for name in ("adverbs", "times", "given", "surnames", "cities", "countries", "organisations")
        },
    )


def _verb(entry: Mapping[str, Any]) -> Verb:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}
    return Verb(**values)


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # a choice made at run time
    """Refuses what YAML readers silently drop or change: the same key twice, and a key such as `no`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key_node, _ in node.value:
            where = f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}"
            if key_node.tag != "tag:yaml.org,2002:str":
                raise DataError(f"{where}: {key_node.value!r} is no text to YAML; allowed: text, in quotes if need be")
            if key_node.value in keys:
                raise DataError(f"{where}: {key_node.value!r} a second time; allowed: once")
            keys.add(key_node.value)
        return dict(super().construct_mapping(node, deep))


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        DataError: Missing, not YAML, or a key that is no text or stands twice in one mapping.
    """
    try:
        with path.open("rb") as file:
            return yaml.load(file, _StrictLoader)  # noqa: S506 - a safe loader
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; allowed: a readable file") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
