"""The query language: from what a reader types to one canonical expression. Pure.

Lucene's habits: words, "phrases", ``AND OR NOT`` and ``-``, parentheses, a trailing ``*``, and fields. Words side by
side must all occur. ``AND`` binds tighter than ``OR``. The reader's guide is docs/query-language.md.

Limits keep every query cheap for everybody else: length, clauses, depth, beginnings of words. They are checked before
the grammar runs, so hostile input costs no more than reading it once; and again on the canonical text, so that what was
once understood and kept is understood ever after.
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn, cast

from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from service.matching.expression import (
    And,
    Exact,
    Expression,
    Not,
    Or,
    Text,
    asks_for_something,
    canonical,
    is_common,
    joined,
    negated,
    prefixes,
    recall,
    terms,
)
from service.matching.normalise import name, prefix, tokens
from service.papers import taxonomy
from service.translation import gettext as _
from service.translation import later

__all__ = [
    "And",
    "Exact",
    "Expression",
    "Not",
    "Or",
    "QueryError",
    "Text",
    "canonical",
    "explain",
    "is_common",
    "parse",
    "recall",
    "terms",
]

LONGEST = 2_000
"""Characters of a query."""
MOST_CLAUSES = 100
DEEPEST = 20
"""Parentheses within parentheses."""
SHORTEST_PREFIX = 2
MOST_PREFIXES = 10
"""Each is as dear as the words that begin so are many."""

_LONGEST_SHOWN: Final = 40
_WHERE: Final = {
    "title": later("%(words)s in the title"),
    "abstract": later("%(words)s in the abstract"),
    "about": later("%(words)s as a main subject"),
    "org": later("%(words)s as organization"),
}
_KINDS: Final = {
    "cat": (later("category %(category)s (%(id)s)"), later("any category of %(archive)s (%(id)s)")),
    "primary": (later("primary category %(category)s (%(id)s)"), later("any primary category of %(archive)s (%(id)s)")),
}
SOURCES: Final = ("huggingface", "arxiv", "biorxiv", "medrxiv", "feed", "file", "sample")


class QueryError(Exception):
    """A query that cannot be understood. ``str()`` is one line, in the language of the moment, that says where and how
    to mend it."""

    def __init__(self, message: str, column: int | None = None) -> None:
        where = "" if column is None else _(" (at character %(column)s)", column=column + 1)
        super().__init__(message + where)
        self.message = message
        self.column = column
        """Counted from 0; None where the whole query is meant."""


_TEXT_FIELDS = {
    "title": "title", "ti": "title", "abstract": "abstract", "abs": "abstract", "about": "about", "org": "org",
}  # fmt: skip
_EXACT_FIELDS = {"author": "author", "au": "author", "cat": "cat", "primary": "primary", "source": "source"}
_FIELDS = {**_TEXT_FIELDS, **_EXACT_FIELDS}
_READABLE_FIELDS = "title: abstract: about: author: org: cat: primary: source:"

# What phones and word processors put in the place of what is on the key; each is one character, so columns stay.
_TYPED: Final = str.maketrans(
    {**dict.fromkeys("“”„‟«»＂", '"'), **dict.fromkeys("‐‑‒–—−", "-"), "（": "(", "）": ")", "：": ":"}
)

_GRAMMAR = r"""
    ?start: either
    ?either: both (_OR both)*
    ?both: negatable (_AND? negatable)*
    ?negatable: (_NOT | _MINUS) atom -> negated
              | atom
    ?atom: "(" either ")"
         | FIELD "(" either ")" -> scoped
         | FIELD (PHRASE | WORD) -> fielded
         | (PHRASE | WORD)       -> plain

    _AND.3: /AND(?=[\s()"]|$)|&&/
    _OR.3: /OR(?=[\s()"]|$)|\|\|/
    _NOT.3: /NOT(?=[\s()"]|$)/
    _MINUS.3: /-+(?=[^\s\-)])/
    FIELD.2: /(title|ti|abstract|abs|about|author|au|org|cat|primary|source):\s*(?=[^\s:)])|[A-Za-z]+:(?=[^\s:\/)])/i
    PHRASE.2: /"[^"]*"\*?/
    WORD: /(?!(AND|OR|NOT)([\s()"]|$))[^\s"()]+/
    %ignore /\s+/
"""
_PARSER = Lark(_GRAMMAR, parser="lalr")


@dataclass(frozen=True, slots=True)
class _Common:
    """A stop word or punctuation, not in quotation marks: beside a telling word it asks for nothing."""

    words: tuple[str, ...]


_Node = Expression | _Common


def parse(text: str) -> Expression:
    """Understand a query. Raises :class:`QueryError`.

    The result is canonical: flattened, sorted, without repetitions, so that queries which mean the same by the rules of
    AND, OR and NOT over the same words are equal.
    """
    typed = text.translate(_TYPED)
    _check_limits(typed)
    try:
        node = _build(_PARSER.parse(typed), None)
    except UnexpectedInput as error:
        _explain_syntax(typed, error)
    if isinstance(node, _Common):
        raise QueryError(
            _("the query holds only very common words or punctuation: add a telling word, or use quotation marks")
        )
    if not asks_for_something(node):
        raise QueryError(_("the query only excludes: say also what you want, for example diffusion -survey"))
    if prefixes(node) > MOST_PREFIXES:
        raise QueryError(
            _(
                "the query has too many words with a *: at most %(most)s are allowed, and a start of two letters counts"
                " as three, of three letters as two",
                most=MOST_PREFIXES,
            )
        )
    try:
        _check_limits(canonical(node))
    except QueryError as error:
        # It can be longer and deeper than it was typed: title:(a b), a b OR c.
        raise QueryError(_("written out, %(problem)s: make two of it", problem=error.message)) from None
    return node


def explain(expression: Expression) -> str:
    """The expression in words a reader understands."""
    match expression:
        case Text(words, field, is_prefix):
            said = (
                _("words beginning with “%(words)s”", words=words[0])
                if is_prefix
                else _("“%(words)s”", words=" ".join(words))
            )
            return _(_WHERE[field], words=said) if field else said
        case Exact("author", value):
            return _("author “%(name)s”", name=value)
        case Exact("source", value):
            return _("listed by %(source)s", source=value)
        case Exact(field, value):
            category = taxonomy.CATEGORIES.get(value)
            one, any_of = _KINDS[field]
            if category is not None:
                return _(one, category=category.name, id=value)
            return _(any_of, archive=_archive_name(value), id=value)
        case Not(part):
            return _("not %(part)s", part=_embraced(part))
        case And(parts):
            wanted = [part for part in parts if not isinstance(part, Not)]
            unwanted = [part.part for part in parts if isinstance(part, Not)]
            said = _in_a_row(later("%(this)s and %(that)s"), wanted)
            if not unwanted:
                return said
            neither = _in_a_row(later("%(this)s nor %(that)s"), unwanted)
            return _("%(wanted)s, but not %(unwanted)s", wanted=said, unwanted=neither)
        case Or(parts):
            return _in_a_row(later("%(this)s or %(that)s"), parts)


# ---- limits and errors -----------------------------------------------------------------------------------------------


def _check_limits(text: str) -> None:
    if len(text) > LONGEST:
        raise QueryError(
            _(
                "the query is too long: %(count)s characters, at most %(most)s are allowed",
                count=len(text),
                most=LONGEST,
            )
        )
    if not text.strip():
        raise QueryError(_('the query is empty: type a word, a "phrase", or a field such as cat:cs.CL'))
    if not text.isascii() and len(unicodedata.normalize("NFKC", text)) > 2 * LONGEST:
        raise QueryError(_("the query holds signs that each stand for many letters: write out what they mean"))
    for column, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r":
            raise QueryError(_("the query holds a control character: remove it"), column)
    quotes = [column for column, character in enumerate(text) if character == '"']
    if len(quotes) % 2:
        raise QueryError(_('a quotation mark is not closed: add another "'), quotes[-1])
    if sum(part not in ("AND", "OR", "NOT") for part in re.findall(r'"[^"]*"|[^\s"()]+', text)) > MOST_CLAUSES:
        raise QueryError(
            _("the query has too many parts: at most %(most)s words and phrases are allowed", most=MOST_CLAUSES)
        )
    _check_parentheses(text)


def _check_parentheses(text: str) -> None:
    opened: list[int] = []
    quoted = False
    for column, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character == "(":
            opened.append(column)
            if len(opened) > DEEPEST:
                raise QueryError(
                    _("parentheses are nested too deep: at most %(most)s levels are allowed", most=DEEPEST), column
                )
        elif character == ")":
            if not opened:
                raise QueryError(_("a parenthesis is closed that was never opened: remove it, or add a ("), column)
            opened.pop()
    if opened:
        raise QueryError(_("a parenthesis is not closed: add a )"), opened[-1])


def _explain_syntax(text: str, error: UnexpectedInput) -> NoReturn:
    if isinstance(error, UnexpectedCharacters) and error.pos_in_stream is not None:
        raise QueryError(
            _("“%(sign)s” has no meaning here: remove it", sign=text[error.pos_in_stream]), error.pos_in_stream
        )
    column = len(text.rstrip()) - 1
    if isinstance(error, UnexpectedToken) and error.token.type != "$END" and error.token.start_pos is not None:
        column = error.token.start_pos
        if error.token.type == "RPAR":
            raise QueryError(_("a word is missing before the parenthesis: add one, or remove the operator"), column)
        raise QueryError(
            _(
                "“%(sign)s” stands where a word is expected: add one before it, or put it in quotation marks",
                sign=_shown(error.token),
            ),
            column,
        )
    raise QueryError(_("the query ends where a word is expected: add one, or remove the last operator"), column)


def _shown(text: str) -> str:
    """A piece of the query inside a message: on one line, and not all of it."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else line[: _LONGEST_SHOWN - 1] + "…"


# ---- from the tree to an expression ----------------------------------------------------------------------------------


def _build(tree: Tree[Token], scope: str | None) -> _Node:
    """The expression of a tree, canonical. ``scope`` is the field before the parentheses around it."""
    match tree.data:
        case "plain":
            return _in_field(scope, _token(tree, 0)) if scope else _text(_token(tree, 0), None)
        case "fielded":
            return _in_field(_field(_token(tree, 0)), _token(tree, 1))
        case "scoped":
            return _build(_subtree(tree, 1), _field(_token(tree, 0)))
        case "negated":
            part = _build(_subtree(tree, 0), scope)
            return part if isinstance(part, _Common) else negated(part)
        case "either":
            return _either([_build(_subtree(tree, index), scope) for index in range(len(tree.children))])
        case _:
            return _both([_build(_subtree(tree, index), scope) for index in range(len(tree.children))])


def _token(tree: Tree[Token], index: int) -> Token:
    return cast("Token", tree.children[index])


def _subtree(tree: Tree[Token], index: int) -> Tree[Token]:
    return cast("Tree[Token]", tree.children[index])


def _either(nodes: list[_Node]) -> _Node:
    if all(isinstance(node, _Common) for node in nodes):
        return nodes[0]
    # Between alternatives a common word is meant, so it counts.
    parts = [Text(node.words) if isinstance(node, _Common) else node for node in nodes if node != _Common(())]
    if not all(asks_for_something(part) for part in parts):
        raise QueryError(_("OR next to an exclusion would match almost everything: exclude with AND, as in a -b"))
    return joined(Or, list(parts))


def _both(nodes: list[_Node]) -> _Node:
    parts = [node for node in nodes if not isinstance(node, _Common)]
    return joined(And, parts) if parts else nodes[0]


def _field(token: Token) -> str:
    typed = str(token).rstrip()[:-1]
    known = _FIELDS.get(typed.lower())
    if known is None:
        close = difflib.get_close_matches(typed.lower(), _FIELDS, n=1)
        hint = (
            _("did you mean %(names)s?", names=f"{close[0]}:")
            if close
            else _("the fields are %(names)s", names=_READABLE_FIELDS)
        )
        raise QueryError(_("there is no field “%(name)s:”; %(hint)s", name=_shown(typed), hint=hint), token.start_pos)
    return known


def _in_field(field: str, value: Token) -> _Node:
    if value.startswith("-"):
        raise QueryError(_("a - goes before the field, as in %(example)s", example=f"-{field}:word"), value.start_pos)
    if field in _TEXT_FIELDS.values():
        return _text(value, field)
    written = str(value).strip('"').strip()
    if field == "author":
        return Exact("author", _author(written, value))
    if field == "source":
        if written.lower() not in SOURCES:
            raise QueryError(
                _(
                    "there is no source “%(name)s”; the sources are %(names)s",
                    name=_shown(written),
                    names=", ".join(SOURCES),
                ),
                value.start_pos,
            )
        return Exact("source", written.lower())
    return Exact(field, _category(written, value.start_pos))


def _author(written: str, value: Token) -> str:
    full_name = name(written)
    # A surname alone is nobody's full name; a group that signs by one word can be had in quotation marks.
    if not full_name or (" " not in full_name and not value.startswith('"')):
        raise QueryError(
            _('author: needs a full name in quotation marks, for example author:"Ada Lovelace"'), value.start_pos
        )
    return full_name


def _category(written: str, column: int | None) -> str:
    """A category, or a whole archive written ``cs`` or ``cs.*``."""
    wanted = written.removesuffix(".*")
    known = taxonomy.canonical(wanted)
    if known is not None:
        return known
    folded = wanted.lower()
    by_lower = _categories_by_lower()
    if folded in by_lower:
        return by_lower[folded]
    close = [by_lower[each] for each in difflib.get_close_matches(folded[:_LONGEST_SHOWN], by_lower, n=3, cutoff=0.6)]
    hint = _("did you mean %(names)s?", names=", ".join(close)) if close else _("see the list of topics")
    raise QueryError(_("there is no arXiv category “%(name)s”; %(hint)s", name=_shown(written), hint=hint), column)


def _archive_name(archive: str) -> str:
    return next((each.archive_name for each in taxonomy.CATEGORIES.values() if each.archive == archive), archive)


@lru_cache(maxsize=1)
def _categories_by_lower() -> dict[str, str]:
    names = {category.archive for category in taxonomy.CATEGORIES.values()} | set(taxonomy.CATEGORIES)
    return {name.lower(): name for name in sorted(names)}


def _text(value: Token, field: str | None) -> _Node:
    written = str(value)
    if field is None and written.endswith(":") and written[:-1].lower() in _FIELDS:
        raise QueryError(
            _("%(field)s needs a word after it, or quotation marks around it", field=written), value.start_pos
        )
    quoted = written.startswith('"')
    bare = written.rstrip("*") if not quoted else written.rstrip("*").strip('"')
    if "*" in bare or (not bare and "*" in written):
        raise QueryError(
            _("a * may only stand at the end of a word: neural* finds neuralnet, *net is not possible"),
            value.start_pos,
        )
    if written.endswith("*"):
        return _prefixed(bare, field, value.start_pos)
    words = tuple(tokens(bare))
    if not words or (not quoted and field is None and len(words) == 1 and is_common(words[0])):
        return _Common(words)
    return Text(words, field)


def _prefixed(bare: str, field: str | None, column: int | None) -> _Node:
    if len(tokens(bare)) > 1:
        raise QueryError(_("a * goes with a single word, not with a phrase or a hyphen: leave it out"), column)
    start = prefix(bare)
    if len(start) < SHORTEST_PREFIX:
        raise QueryError(_("a * needs at least %(least)s letters before it", least=SHORTEST_PREFIX), column)
    return Text((start,), field, prefix=True)


def _in_a_row(pattern: str, parts: Sequence[Expression]) -> str:
    return functools.reduce(lambda this, that: _(pattern, this=this, that=that), map(_embraced, parts))


def _embraced(expression: Expression) -> str:
    return f"({explain(expression)})" if isinstance(expression, And | Or) else explain(expression)
