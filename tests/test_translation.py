"""The catalogues are whole, and what is said is said in the right language."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from service import translation
from service.matching.language import QueryError, explain, parse
from service.translation import ENGLISH, LANGUAGES, Language, gettext, ngettext

ROOT = Path(__file__).parents[1]
TRANSLATED = [language for language in LANGUAGES if language is not ENGLISH]
_PLACE = re.compile(r"%\((\w+)\)s")
_TAG = re.compile(r"<[^>]*>")

by_tag = pytest.mark.parametrize("language", TRANSLATED, ids=lambda language: language.tag)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Every message that code and templates hold today."""
    found = tmp_path_factory.mktemp("messages") / "paperround.pot"
    subprocess.run(
        [sys.executable, "-m", "babel.messages.frontend", "-q", "extract", "-F", "translations/extract.cfg",
         "-k", "later", "-o", str(found), "."],
        cwd=ROOT, check=True,
    )  # fmt: skip
    with found.open("rb") as file:
        return read_po(file)


def held(language: Language) -> Catalog:
    with translation.path(language).open("rb") as file:
        return read_po(file, locale=language.locale)


def texts(of: object) -> list[str]:
    return [of] if isinstance(of, str) else [str(each) for each in of]  # type: ignore[attr-defined]  # a tuple of forms


def lacking(source: Catalog, catalogue: Catalog) -> list[str]:
    """The messages that a catalogue lacks, has only guessed, or holds for nobody."""
    told = []
    for message in source:
        if not message.id:
            continue
        there = catalogue.get(message.id, message.context)
        if there is None or not all(texts(there.string)):
            told.append(f"missing: {texts(message.id)[0]}")
        elif there.fuzzy:
            told.append(f"fuzzy: {texts(message.id)[0]}")
    wanted = {(str(message.id), message.context) for message in source}
    told += [
        f"nobody says: {texts(each.id)[0]}"
        for each in catalogue
        if each.id and (str(each.id), each.context) not in wanted
    ]
    return told


@by_tag
def test_every_message_is_translated(source: Catalog, language: Language) -> None:
    told = lacking(source, held(language))
    assert not told, f"{language.name} (make translations, then translate):\n" + "\n".join(told)


def test_a_missing_a_guessed_and_a_left_over_message_are_listed(source: Catalog) -> None:
    catalogue = held(TRANSLATED[0])
    catalogue.delete("Topics")
    catalogue["Search"].flags.add("fuzzy")
    catalogue.add("Nobody says this", "Das sagt niemand")
    assert sorted(lacking(source, catalogue)) == ["fuzzy: Search", "missing: Topics", "nobody says: Nobody says this"]


@by_tag
def test_translations_keep_places_and_markup(language: Language) -> None:
    for message in held(language):
        if not message.id:
            continue
        originals = texts(message.id)
        for said in texts(message.string):
            places = set(_PLACE.findall(originals[-1]))
            # A form for one or two may say the number in a word, or leave it out.
            assert places - {"num"} <= set(_PLACE.findall(said)) <= places, said
            assert sorted(_TAG.findall(said)) == sorted(_TAG.findall(originals[0])), said
            assert "%%" not in said.replace("%(", "")
    assert [str(error) for _, errors in held(language).check() for error in errors] == []


@by_tag
def test_every_plural_form_has_its_own_text(language: Language) -> None:
    catalogue = held(language)
    plurals = [message for message in catalogue if isinstance(message.id, tuple)]
    assert plurals
    assert {len(texts(message.string)) for message in plurals} == {catalogue.num_plurals}


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "لا أبحاث"), (1, "بحث واحد"), (2, "بحثان"), (3, "3 أبحاث"), (10, "10 أبحاث"), (11, "11 بحثًا"), (99, "99 بحثًا"),
     (100, "100 بحث"), (103, "103 أبحاث")],
)  # fmt: skip
def test_arabic_counts_in_six_forms(count: int, said: str) -> None:
    with translation.speaking(translation.of("ar")):
        assert ngettext("%(num)s paper", "%(num)s papers", count) == said


@by_tag
def test_what_a_catalogue_lacks_is_said_in_english(language: Language) -> None:
    with translation.speaking(language):
        assert gettext("A message that nobody %(did)s", did="wrote") == "A message that nobody wrote"
        assert ngettext("%(num)s thing unheard of", "%(num)s things unheard of", 2) == "2 things unheard of"


def test_an_operators_own_topic_stays_as_it_was_typed_and_a_shipped_one_is_translated() -> None:
    with translation.speaking(translation.of("de")):
        assert translation.topical("Statistics") == "Statistik"
        # Said on the site, but no topic of ours.
        assert (translation.topical("Search"), gettext("Search")) == ("Search", "Suche")
        assert translation.topical("Fish of the Lab") == "Fish of the Lab"


def test_a_mistake_in_a_query_and_what_was_understood_are_told_in_the_readers_language() -> None:
    with translation.speaking(translation.of("fr")):
        with pytest.raises(QueryError, match=r"une parenthèse n’est pas fermée : ajoutez une .*caractère 8"):
            parse("robots (")
        understood = parse('title:robots (cat:cs.CL OR author:"Ada Lovelace") -survey -review')
        said = explain(understood)
    assert "« robot » dans le titre" in said or "« robots » dans le titre" in said
    for word in (" ou ", "auteur « ada lovelace »", "catégorie Computation and Language (cs.CL)", "mais pas", " ni "):
        assert word in said
    assert " and " not in said.replace("Computation and Language", "")


def test_outside_of_a_request_or_a_mail_english_is_spoken() -> None:
    with translation.speaking(translation.of("de")):
        assert gettext("Topics") == "Themen"
    assert gettext("Topics") == "Topics"


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("pt-BR,fr;q=0.3,en;q=0.2", "fr"),
        ("zh-TW,zh;q=0.9", "zh-Hans"),
        ("zh-Hans-CN", "zh-Hans"),
        ("en;q=0.1, ar-EG", "ar"),
        ("de;q=0, en", "en"),
        ("xx;q=nonsense,;;,=", "en"),
        ("*", "en"),
        ("", "en"),
    ],
)
def test_the_language_a_browser_likes_best_is_chosen(header: str, tag: str) -> None:
    assert translation.negotiated(header).tag == tag


@by_tag
def test_days_and_lists_are_written_as_the_language_writes_them(language: Language) -> None:
    from datetime import date

    with translation.speaking(language):
        full = translation.day(date(2026, 11, 24))
        assert "2026" in full
        assert "Tuesday" not in full
        assert len(set(translation.weekdays())) == 7
        assert translation.joined(["a", "b", "c"]).startswith("a")
        assert " and " not in translation.joined(["a", "b", "c"])
    assert translation.joined(["a", "b", "c"]) == "a, b and c"
    assert translation.joined([]) == ""


def test_messages_are_marked_by_names_that_the_extraction_knows(source: Catalog) -> None:
    """A message in each place where people read: code, pages, both parts of mails."""
    for said in ("You follow it", "Skip to the content", "In short:", "Today’s papers on the site"):
        assert isinstance(source.get(said), Message), said
