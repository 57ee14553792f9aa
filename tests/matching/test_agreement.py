"""The index against a plain reading of the language: one paper at a time, one rule after the other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from service.matching.edition import EditionIndex
from service.matching.index import IndexedPaper, PaperIndex
from service.matching.language import And, Exact, Expression, Not, Or, QueryError, Text, canonical, parse
from service.matching.normalise import name, tokens
from service.matching.places import Place

_WORDS = st.sampled_from(["robot", "robots", "fish", "deep", "learning", "deep-learning", "the", "robotics", "4"])
_ABBREVIATED = "(RL)"
_TITLES = st.lists(_WORDS, min_size=1, max_size=5).map(" ".join)
_ABSTRACTS = st.lists(_WORDS | st.just(_ABBREVIATED), min_size=1, max_size=9).map(" ".join)
_NAMES = st.sampled_from(["Ada Inventor", "Ada B. Inventor", "Bo Made-Up"])
_CATEGORIES = st.sampled_from(["cs.CL", "cs.CV", "stat.ML", "quant-ph"])
_PAPERS = st.lists(
    st.builds(
        IndexedPaper,
        id=st.integers(1, 10**9),
        title=_TITLES,
        abstract=_ABSTRACTS,
        keywords=st.lists(_TITLES, max_size=2).map(tuple),
        authors=st.lists(_NAMES, max_size=2).map(tuple),
        organization=st.none() | _TITLES,
        categories=st.lists(_CATEGORIES, max_size=3, unique=True).map(tuple),
        sources=st.lists(st.sampled_from(["arxiv", "huggingface"]), max_size=2, unique=True).map(tuple),
    ),
    max_size=8,
    unique_by=lambda paper: paper.id,
)
_LEAVES = st.one_of(
    _WORDS,
    _TITLES.map(lambda words: f'"{words}"'),
    st.builds("{}:{}".format, st.sampled_from(["title", "abstract", "about", "org"]), _WORDS),
    st.sampled_from(["rob*", "title:robots*", "about:rob*", "lear*", "rl", "about:rl"]),
    _NAMES.map(lambda each: f'author:"{each}"'),
    st.builds("{}:{}".format, st.sampled_from(["cat", "primary"]), _CATEGORIES | st.sampled_from(["cs", "stat.*"])),
    st.just("source:arxiv"),
)
_QUERIES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds("({} OR {})".format, inner, inner),
        st.builds("({} {})".format, inner, inner),
        st.builds("({} -{})".format, inner, inner),
        st.builds("({} NOT (-{} -{}))".format, inner, inner, inner),
    ),
    max_leaves=6,
)


def _holds(words: tuple[str, ...], text: str, *, prefix: bool) -> bool:
    there = tokens(text)
    if prefix:
        return any(word.startswith(words[0]) or word == tokens(words[0])[0] for word in there)
    return any(tuple(there[at : at + len(words)]) == words for at in range(len(there)))


def _dwells_on(words: tuple[str, ...], abstract: str, *, prefix: bool) -> bool:
    """The abstract holds the words, and the same without common ones at either end twice, or before or as "(RL)"."""
    if not _holds(words, abstract, prefix=prefix):
        return False
    if prefix:
        return any(
            _dwells_on((word,), abstract, prefix=False) for word in tokens(abstract) if _holds(words, word, prefix=True)
        )
    telling = [at for at, word in enumerate(words) if word != "the"]
    if not telling:
        return False
    kept = list(words[telling[0] : telling[-1] + 1])
    there = tokens(abstract)
    if [there[at : at + len(kept)] for at in range(len(there))].count(kept) > 1:
        return True
    pieces = abstract.split()
    before = [tokens(" ".join(pieces[:at])) for at, piece in enumerate(pieces) if piece == _ABBREVIATED]
    return bool(before) and (kept == ["rl"] or (len(kept) <= 2 and any(each[-len(kept) :] == kept for each in before)))


def _archive(category: str) -> str:
    return category.partition(".")[0]


def _matches(paper: IndexedPaper, expression: Expression) -> bool:
    match expression:
        case Text(words, "about", prefix):
            told = any(_holds(words, part, prefix=prefix) for part in [paper.title, *paper.keywords])
            return told or _dwells_on(words, paper.abstract, prefix=prefix)
        case Text(words, field, prefix):
            parts = {"title": [paper.title], "abstract": [paper.abstract], "org": [paper.organization or ""]}
            read = [paper.title, paper.abstract, *paper.keywords] if field is None else parts[field]
            return any(_holds(words, part, prefix=prefix) for part in read)
        case Exact("author", value):
            return value in {name(author) for author in paper.authors}
        case Exact("source", value):
            return value in paper.sources
        case Exact(field, value):
            read = list(paper.categories[:1] if field == "primary" else paper.categories)
            return any(value in (category, _archive(category)) for category in read)
        case Not(part):
            return not _matches(paper, part)
        case And(parts):
            return all(_matches(paper, part) for part in parts)
        case Or(parts):
            return any(_matches(paper, part) for part in parts)


def _found_in(paper: IndexedPaper, expression: Expression) -> Place:
    """Where, of an expression that is true of the paper."""
    match expression:
        case Text(words, field, prefix):
            read = {
                Place.TITLE: ("title", [paper.title]),
                Place.ABSTRACT: ("abstract", [paper.abstract]),
                Place.KEYWORDS: ("keywords", list(paper.keywords)),
                Place.ORGANIZATION: ("org", [paper.organization or ""]),
            }
            found = Place(0)
            for place, (name_, texts) in read.items():
                here = name_ == field if field not in (None, "about") else place is not Place.ORGANIZATION
                dwelt = place is Place.ABSTRACT and _dwells_on(words, paper.abstract, prefix=prefix)
                held = any(_holds(words, text, prefix=prefix) for text in texts)
                if here and (dwelt or (held and (field != "about" or place is not Place.ABSTRACT))):
                    found |= place | (Place.DWELT_ON if dwelt else Place(0))
            return found | Place.PHRASE if Place.TITLE in found and len(words) > 1 else found
        case Exact("author", _):
            return Place.AUTHOR
        case Exact():
            return Place.TAG
        case Not():
            return Place(0)
        case And(parts) | Or(parts):
            found = Place(0)
            for part in parts:
                if _matches(paper, part):
                    found |= _found_in(paper, part)
            return found


def _places(paper: IndexedPaper, expression: Expression) -> Place:
    return _found_in(paper, expression) or Place.TAG


@settings(max_examples=100, deadline=None)
@given(_PAPERS, st.lists(_QUERIES, min_size=1, max_size=4))
def test_a_query_matches_exactly_the_papers_of_which_it_is_true(papers: list[IndexedPaper], typed: list[str]) -> None:
    index, edition = PaperIndex.build(papers), EditionIndex(papers)
    for each in typed:
        try:
            expression = parse(each)
        except QueryError:
            continue
        expected = {paper.id for paper in papers if _matches(paper, expression)}
        found = index.search(expression)
        assert set(found.paper_ids.tolist()) == expected, canonical(expression)
        assert len(found) == len(expected)
        ordered = list(zip((-found.scores).tolist(), found.paper_ids.tolist(), strict=True))
        assert ordered == sorted(ordered), "best first, ties by id"
        shown, total = index.newest(expression, limit=100)
        assert (set(shown), total) == (expected, len(expected))
        matched = edition.search(expression)
        assert [paper for paper, _ in matched] == sorted(expected), canonical(expression)
        by_id = {paper.id: paper for paper in papers}
        assert [places for _, places in matched] == [_places(by_id[paper], expression) for paper, _ in matched]
