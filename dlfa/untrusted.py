"""What a stranger may have written: text that is shown, YAML that is read, and secrets that go no further."""

import re
from typing import Any

import yaml

from dlfa.errors import ConfigError

__all__ = ["has_secret", "load_yaml", "printable", "without_secrets"]

_MOST_VALUES = 10_000
"""In a YAML file, each as often as an alias repeats it."""

_USER_INFO = re.compile(r"(?<=://)[^/\s'\"?#][^\s'\"?#]*@")
"""Up to the last @: a password may have a slash or an @ in it. Behind sqlite:/// is a path instead."""

_SECRET = re.compile(
    r"(?<=[?&;#])([\w.%-]*(?:passw|pwd|token|secret|key|credential|signature)[\w.%-]*=)[^&;#\s'\"]+", re.IGNORECASE
)
"""A part of a URI's query, such as `password=`, `sslpassword=`, `X-Amz-Signature=` or `AWSAccessKeyId=`."""

_TOKEN = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,})\b")
"""Of the Hugging Face Hub, of AWS, of GitHub: they are known by their looks."""


def printable(text: object) -> str:
    """Return a text as one line that changes nothing on a terminal: line ends and control characters are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader takes numbers that Python then refuses to print."""

    def construct_yaml_int(self, node: Any) -> int:
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > 64:
            raise ValueError(f"line {node.start_mark.line + 1}: a whole number of more than 64 bits")
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def load_yaml(text: str) -> object:
    """Return what a YAML file holds; whoever wrote it, reading it runs nothing and takes no more than a moment.

    Raises:
        ConfigError: With the reason, in one line, for the caller to put the file's name before.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_node(node)
        value: object = loader.construct_document(node)
    # A value that its own tag does not fit, such as the date 2026-99-99, is none of PyYAML's errors.
    except (
        yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError
    ) as error:  # fmt: skip
        raise ConfigError(printable(" ".join(str(error).split()))) from error
    return value


def _check_node(root: yaml.Node) -> None:
    """Refuse keys that stand twice in a mapping, and aliases that make millions of values of a few."""
    pending, count = [root], 1
    while pending:
        node = pending.pop()
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise ValueError(f"line {key.start_mark.line + 1}: {key.value!r} stands twice")
                keys |= {key.value} if isinstance(key, yaml.ScalarNode) else set()
                children += [key, value]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        pending += children
        count += len(children)
        if count > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES} values")


def has_secret(text: str) -> bool:
    """Return whether a text has a secret in it: a user in a URI, a password or key in its query, a token."""
    return without_secrets(text) != text


def without_secrets(text: str) -> str:
    """Return a text with `***` in place of every secret."""
    return _TOKEN.sub("***", _SECRET.sub(r"\1***", _USER_INFO.sub("***@", text)))
