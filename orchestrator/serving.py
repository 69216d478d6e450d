"""What MLflow loads a registered model with: `MLmodel` names this module, and no code lies beside the weights.

Input is a table with one example per row: for models that tag words the column `text`, sentences with blanks between
words; for models of pairs `text` and `text_pair`. Output has a row for each: `labels`, a list with one label per word,
or `label`.
"""

from pathlib import Path

import pandas as pd

from dlfa.prediction import Predictor, load_predictor

__all__ = ["LABEL", "LABELS", "SECOND_TEXT", "TEXT", "ServedModel"]

TEXT, SECOND_TEXT, LABELS, LABEL = "text", "text_pair", "labels", "label"


class ServedModel:
    """A saved model as MLflow calls it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Return the labels of each row.

        Raises:
            DataError: A text is missing, or a sentence of a pair is empty; rows count from 0.
        """
        text = model_input[TEXT].tolist()
        found: dict[str, list[list[str]] | list[str]]
        if self._predictor.kind == "tagging":
            found = {LABELS: self._predictor.tags(text)}
        else:
            found = {LABEL: self._predictor.labels(list(zip(text, model_input[SECOND_TEXT].tolist(), strict=True)))}
        table: pd.DataFrame = pd.DataFrame(found, index=model_input.index)
        return table


def _load_pyfunc(data_path: str) -> ServedModel:
    """Return the model of a folder; MLflow knows the function by this name."""
    return ServedModel(load_predictor(Path(data_path)))
