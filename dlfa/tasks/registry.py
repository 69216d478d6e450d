"""The tasks there are. Nothing outside this dictionary branches on a task's name."""

from typing import Final

from dlfa.config import suggestion
from dlfa.errors import ConfigError
from dlfa.tasks.languages import LANGUAGES
from dlfa.tasks.spec import HubTable, TaskSpec

__all__ = ["TASKS", "find_task"]

_UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM",
    "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip

_UDPOS_LANGUAGES = (
    "af", "ar", "bg", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it",
    "ja", "kk", "ko", "mr", "nl", "pt", "ru", "ta", "te", "th", "tl", "tr", "ur", "vi", "yo", "zh",
)  # fmt: skip

_PANX_LANGUAGES = (
    "af", "ar", "bg", "bn", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja",
    "jv", "ka", "kk", "ko", "ml", "mr", "ms", "my", "nl", "pt", "ru", "sw", "ta", "te", "th", "tl", "tr", "ur", "vi",
    "yo", "zh",
)  # fmt: skip

_XNLI_LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")

_PAWSX_LANGUAGES = ("de", "en", "es", "fr", "ja", "ko", "zh")

_XTREME = "google/xtreme"
_SPLITS = {"train": "train", "dev": "validation", "test": "test"}

TASKS: Final[dict[str, TaskSpec]] = {
    "udpos": TaskSpec(
        name="udpos",
        kind="tagging",
        labels=_UPOS,
        metrics=("f1", "accuracy"),
        languages=_UDPOS_LANGUAGES,
        epochs=10,
        hub=(
            HubTable(
                repository=_XTREME,
                configs={code: f"udpos.{LANGUAGES[code].name}" for code in _UDPOS_LANGUAGES},
                splits=_SPLITS,
                text=("tokens",),
                label="pos_tags",
            ),
        ),
    ),
    "panx": TaskSpec(
        name="panx",
        kind="tagging",
        labels=("B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O"),
        metrics=("f1",),
        languages=_PANX_LANGUAGES,
        epochs=10,
        hub=(
            HubTable(
                repository=_XTREME,
                configs={code: f"PAN-X.{code}" for code in _PANX_LANGUAGES},
                splits=_SPLITS,
                text=("tokens",),
                label="ner_tags",
            ),
        ),
    ),
    "xnli": TaskSpec(
        name="xnli",
        kind="pair",
        labels=("contradiction", "entailment", "neutral"),
        aliases={"contradictory": "contradiction"},  # in XNLI's machine-translated training sets
        metrics=("accuracy",),
        languages=_XNLI_LANGUAGES,
        epochs=5,
        hub=(
            HubTable(
                repository=_XTREME,
                configs=dict.fromkeys(_XNLI_LANGUAGES, "XNLI"),
                splits={"dev": "validation", "test": "test"},
                text=("sentence1", "sentence2"),
                label="gold_label",
                language="language",
                aligned=True,
            ),
            HubTable(
                repository="facebook/xnli",
                configs={code: code for code in _XNLI_LANGUAGES},
                splits={"train": "train"},
                text=("premise", "hypothesis"),
                label="label",
            ),
        ),
    ),
    "pawsx": TaskSpec(
        name="pawsx",
        kind="pair",
        labels=("0", "1"),  # 1: a paraphrase
        metrics=("accuracy",),
        languages=_PAWSX_LANGUAGES,
        epochs=5,
        hub=(
            HubTable(
                repository=_XTREME,
                configs={code: f"PAWS-X.{code}" for code in _PAWSX_LANGUAGES},
                splits=_SPLITS,
                text=("sentence1", "sentence2"),
                label="label",
                aligned=True,
            ),
        ),
    ),
}


def find_task(name: str) -> TaskSpec:
    """Return the task of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in TASKS:
        raise ConfigError(f"task: {name!r} is not allowed{suggestion(name, TASKS)}; allowed: {', '.join(TASKS)}")
    return TASKS[name]
