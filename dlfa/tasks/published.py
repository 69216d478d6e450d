"""What the DLFA paper reports: numbers, with their source, in published.yaml."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

__all__ = ["PUBLISHED", "PUBLISHED_ENCODER", "Published"]

PUBLISHED_ENCODER: Final = "google-bert/bert-base-multilingual-cased"
"""The encoder of the paper, mBERT."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One number of the paper."""

    task: str

    fusion_layer: int | None
    """The layer that DLFA fuses with the last; None: the baseline."""

    score: str
    """`avg`, `enf`, `far`, `similarity`, or a language's code; defined in the head of published.yaml."""

    value: float
    """In percent; a similarity is a cosine, in -1..1."""


def _read(path: Path) -> Iterator[Published]:
    for task, rows in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        for row, scores in rows.items():
            layer = None if row == "none" else row
            for score, value in {**scores, **scores.pop("languages", {})}.items():
                if score != "languages":
                    yield Published(task=task, fusion_layer=layer, score=score, value=value)


PUBLISHED: Final = tuple(_read(Path(__file__).with_name("published.yaml")))
"""Every number, task by task, the baseline first, then from the highest layer down."""
