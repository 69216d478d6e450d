"""What makes a task: its labels, its kind of example, its metric, its languages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["HubTable", "Kind", "TaskSpec"]

Kind = Literal["tagging", "pair"]
"""Form of an example; `tagging`: a sentence with one label for every word; `pair`: two sentences with one label."""


@dataclass(frozen=True, kw_only=True)
class HubTable:
    """Where a data set of the Hugging Face Hub has a task's examples."""

    repository: str
    """Owner and name of the data set."""

    configs: Mapping[str, str]
    """ISO codes of the languages, each with its configuration of the data set."""

    splits: Mapping[str, str]
    """`train`, `dev`, `test` or some of these, each with the data set's name for it."""

    text: tuple[str, ...]
    """Column of the words, or the columns of both sentences."""

    label: str
    """Column of the labels: their names, or numbers that the data set has names for."""

    language: str | None = None
    """Column of ISO codes, where one configuration mixes languages."""

    aligned: bool = False
    """Whether its test sets are translations of one another, row by row."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task of the benchmark; everything that differs between tasks is a field here."""

    name: str
    """Name that users type, as in XTREME."""

    kind: Kind
    """Form of an example."""

    labels: tuple[str, ...]
    """Label names in the order of the classifier's outputs."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names that files have for labels, each with the label it stands for."""

    metrics: tuple[str, ...]
    """Scores reported per language, in percent; the first one selects, prunes and ranks."""

    languages: tuple[str, ...]
    """ISO codes of the languages that XTREME tests, sorted."""

    epochs: float
    """Passes over the training set in XTREME's recipe."""

    hub: tuple[HubTable, ...] = ()
    """Data sets of the Hub that together have the task's examples; none: it is not on the Hub."""

    @property
    def examples(self) -> str:
        """What its examples are called."""
        return {"tagging": "sentences", "pair": "pairs"}[self.kind]

    @property
    def metric(self) -> str:
        """Name of the score that selects, prunes and ranks."""
        return self.metrics[0]
