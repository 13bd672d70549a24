"""The grammar of method specs: `infopro[contrast,head=1c3f]+checkpoint`.

spec     = term { "+" term }
term     = name [ "[" argument { "," argument } "]" ]
argument = value | key "=" value
"""

import re
from dataclasses import dataclass


class SpecError(ValueError):
    """A method spec that does not parse, or names something unknown."""


@dataclass(frozen=True, slots=True)
class Term:
    """One `name[argument, ...]` of a spec; an argument without a key has the key None."""

    name: str
    arguments: tuple[tuple[str | None, str], ...] = ()


_TERM = re.compile(r"\s*(?P<name>\w+)\s*(?:\[(?P<arguments>[^\[\]]*)\])?\s*")
_VALUE = re.compile(r"[\w.:/-]+")


def parse_terms(text: str) -> tuple[Term, ...]:
    """Split a spec into its terms, without knowing any method.

    Raises:
        SpecError: the text is not of the grammar; the message shows the place.
    """
    return tuple(_parse_term(part, text) for part in text.split("+"))


def _parse_term(part: str, text: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None:
        raise SpecError(f"cannot read '{part.strip()}' in method '{text}': write name or name[option,key=value]")
    arguments = match["arguments"]
    if arguments is None:
        return Term(match["name"])
    return Term(match["name"], tuple(_parse_argument(item.strip(), text) for item in arguments.split(",")))


def _parse_argument(item: str, text: str) -> tuple[str | None, str]:
    key, equals, value = (piece.strip() for piece in item.partition("="))
    if not equals:
        key, value = "", key
    if not _VALUE.fullmatch(value) or (equals and not key.isidentifier()):
        raise SpecError(f"cannot read option '{item}' in method '{text}': write value or key=value")
    return (key or None, value)
