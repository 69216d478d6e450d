"""Whatever may stand in a YAML file or on a command line, for hypothesis."""

from collections.abc import Sequence

from hypothesis import strategies as st

__all__ = ["mutated", "near", "values"]

_YAML = (
    *("[", "]", "{", "}", "?", "|", "'", '"', ": ", "- ", "\n", "\t"),
    *("&a ", "*a", "<<: ", "!!int ", "!!set ", "!!timestamp ", "!x "),
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 40)
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(
        ["L-1", "L-0", "udpos", "none", "tpe", "2e-5", "1e999", "nan", "../x", "two\nlines", "\0", "\33["]
    )
)


def values(keys: Sequence[str] = ()) -> st.SearchStrategy[object]:
    """Return a strategy for any value that YAML can write; mappings often have some of the given keys."""
    names = st.sampled_from([*keys, "low", "high", "log", "step", "grid", "choices"]) | _SCALARS
    return st.recursive(
        _SCALARS | st.sampled_from([*keys, ""]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """Return a right text of which a few pieces are gone, doubled or something else."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from([*_YAML, "", text[start:end] * 2]) | st.text(max_size=4))
        text = text[:start] + piece + text[end:]
    return text


def near(words: Sequence[str]) -> st.SearchStrategy[str]:
    """Return a strategy for words, whole ones and mistyped ones."""
    return st.sampled_from(words) | st.sampled_from(words).flatmap(mutated)
