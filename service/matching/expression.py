"""What a query says, once it is understood: a tree of frozen values, and the one text each tree is kept as. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.matching.normalise import compounded


@dataclass(frozen=True, slots=True)
class Text:
    """Words in a row, in the running text: of the title, the abstract, or (``field`` None) either; ``org`` too.

    ``about`` is either again, but in the abstract only where it dwells on them (``emphasis``).
    """

    words: tuple[str, ...]
    field: str | None = None
    prefix: bool = False
    """The one word is the beginning of a word."""


@dataclass(frozen=True, slots=True)
class Exact:
    """A whole value: an author's full name, a category, a source."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Not:
    """What ``part`` does not match."""

    part: Expression


@dataclass(frozen=True, slots=True)
class And:
    """What all ``parts`` match."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """What any of the ``parts`` matches."""

    parts: tuple[Expression, ...]


Expression = Text | Exact | Not | And | Or

# Too common to ask for one by one. Inside quotation marks they count.
_STOP_WORDS: Final = frozenset(
    "a an and are as at be by for from has have in into is it its of on or our such than that the their these they this"
    " to using via was we were which with".split()
)
_CHEAP_LETTERS: Final = 4
_TEXT_FIELDS: Final = frozenset(("title", "abstract", "about", "org"))
_TOKEN: Final = re.compile(r'[()]|[a-z]+:|"[^"]*"|[^\s():"]+')


def is_common(word: str) -> bool:
    """Whether a token says nothing by itself."""
    return word in _STOP_WORDS


def canonical(expression: Expression) -> str:
    """The text an expression is kept and compared by: ``parse(canonical(e)) == e`` for every ``e`` of ``parse``."""
    return _written(expression, outermost=True)


def recall(text: str) -> Expression:
    """The expression of a text that :func:`canonical` wrote: what ``parse`` gives, in a fraction of its time.

    For texts of our own making only: nothing is folded, sorted or checked. Raises ValueError for any other text.
    """
    found = _TOKEN.findall(text)
    if len(found) == 1:
        # Most queries are one word or phrase.
        return _part(iter(()), found[0])
    expression, after = _recalled(iter(found))
    if after:
        raise ValueError(f"not a canonical query: {text[:200]!r}")
    return expression


def joined(kind: type[And] | type[Or], parts: list[Expression]) -> Expression:
    """Several expressions as one: flattened, sorted, without repetitions."""
    distinct: dict[Expression, None] = {}
    for part in parts:
        distinct.update(dict.fromkeys(part.parts if isinstance(part, kind) else (part,)))
    if len(distinct) == 1:
        return next(iter(distinct))
    return kind(tuple(sorted(distinct, key=lambda part: _written(part, outermost=False))))


def negated(expression: Expression) -> Expression:
    """The opposite. What only excludes becomes what is wanted instead: not (not a and not b) is a or b."""
    match expression:
        case Not(part):
            return part
        case And(parts) if all(isinstance(part, Not) for part in parts):
            return joined(Or, [part.part for part in parts if isinstance(part, Not)])
        case _:
            return Not(expression)


def asks_for_something(expression: Expression) -> bool:
    """Whether there is anything positive to look for: an index cannot list what is not there."""
    match expression:
        case Not():
            return False
        case And(parts):
            return any(asks_for_something(part) for part in parts)
        case Or(parts):
            return all(asks_for_something(part) for part in parts)
        case _:
            return True


def terms(expression: Expression) -> tuple[Text, ...]:
    """What the query wants to read in the running text: for marking it there. Exclusions are left out."""
    return tuple(part for part in _wanted(expression) if isinstance(part, Text))


def authors(expression: Expression) -> tuple[str, ...]:
    """The full names the query wants, folded. Exclusions are left out."""
    found = (part.value for part in _wanted(expression) if isinstance(part, Exact) and part.field == "author")
    return tuple(dict.fromkeys(found))


def prefixes(expression: Expression) -> int:
    """What the beginnings of words cost, excluded ones too: the dear part of a query.

    Each costs as much as the words that begin so are many: one of two letters counts as three, of three as two.
    """
    match expression:
        case Text(words, _, prefix):
            return max(1, _CHEAP_LETTERS + 1 - len(words[0])) if prefix else 0
        case Exact():
            return 0
        case Not(part):
            return prefixes(part)
        case And(parts) | Or(parts):
            return sum(prefixes(part) for part in parts)


def _wanted(expression: Expression) -> Iterator[Text | Exact]:
    match expression:
        case Text() | Exact():
            yield expression
        case And(parts) | Or(parts):
            for part in parts:
                yield from _wanted(part)
        case Not():
            return


def _written(expression: Expression, *, outermost: bool) -> str:
    match expression:
        case Text(words, field, is_prefix):
            word = f"{words[0]}*" if is_prefix else words[0] if _stands_alone(words) else f'"{" ".join(words)}"'
            return f"{field}:{word}" if field else word
        case Exact("author", value):
            return f'author:"{value}"'
        case Exact(field, value):
            return f"{field}:{value}"
        case Not(part):
            return f"NOT {_written(part, outermost=False)}"
        case And(parts) | Or(parts):
            word = " AND " if isinstance(expression, And) else " OR "
            text = word.join(_written(part, outermost=False) for part in parts)
            return text if outermost else f"({text})"


def _stands_alone(words: tuple[str, ...]) -> bool:
    return len(words) == 1 and words[0] not in _STOP_WORDS


def _recalled(tokens: Iterator[str]) -> tuple[Expression, str]:
    """One level of parentheses, and the token that ended it (empty at the end of the text)."""
    parts = [_part(tokens, next(tokens, ""))]
    operator = token = next(tokens, "")
    while token and token == operator and token in ("AND", "OR"):
        parts.append(_part(tokens, next(tokens, "")))
        token = next(tokens, "")
    if len(parts) == 1:
        return parts[0], token
    return (And if operator == "AND" else Or)(tuple(parts)), token


def _part(tokens: Iterator[str], token: str) -> Expression:
    if token == "NOT":  # noqa: S105 (a word of the query, no secret)
        return Not(_part(tokens, next(tokens, "")))
    if token == "(":  # noqa: S105
        inner, end = _recalled(tokens)
        if end != ")":
            raise ValueError("not a canonical query: a parenthesis is not closed")
        return inner
    if token in ("", ")", "AND", "OR"):
        raise ValueError("not a canonical query: a part is missing")
    field = None
    if token[-1] == ":":
        field, token = token[:-1], next(tokens, "")
    if field is not None and field not in _TEXT_FIELDS:
        return Exact(field, token.strip('"'))
    if token[-1:] == "*":
        return Text((token[:-1],), field, prefix=True)
    # Texts kept before a pair of words became one still find what they found.
    return Text(tuple(compounded(token.strip('"').split())), field)
