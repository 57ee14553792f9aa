"""What other programs think of the mails: SpamAssassin, html-validate, the reference implementation of MJML."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jinja2 import ChainableUndefined, DictLoader, Environment

from service import translation
from service.mails import mjml
from service.mails.templates import FOLDER
from service.translation import LANGUAGES
from tests.mails.conftest import Post

NODE = Path(__file__).parents[1] / "node"
MOST_POINTS = 1.0
_STATUS = re.compile(r"^X-Spam-Status: \w+, score=(-?[\d.]+) .*?tests=((?:\S|,\s)*)", re.MULTILINE)

OFF = {
    "no-inline-style": "mail programs drop style sheets",
    "no-deprecated-attr": "align and bgcolor are what old mail programs know",
    "no-conditional-comment": "Outlook reads them",
    "doctype-style": "the MJML engine writes it in small letters",
    "void-style": "the MJML engine closes void elements",
    "no-trailing-whitespace": "an empty line of the digest's loop costs nobody anything",
    "prefer-native-element": "tables are layout here, so they are given the role presentation",
}
"""Rules that mails cannot keep, and why."""


def asked(script: str, question: Mapping[str, Any], folder: Path) -> dict[str, list[str]]:
    """What a script of tests/node says; skips where Node.js or its packages are not."""
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / ".package-lock.json").exists():
        pytest.skip("Node.js and its packages are not on this machine: npm ci in tests/node")
    (folder / "question.json").write_text(json.dumps(question))
    subprocess.run(
        [node, str(NODE / script), str(folder / "question.json"), str(folder / "answer.json")], check=True, timeout=100
    )
    answer: dict[str, list[str]] = json.loads((folder / "answer.json").read_text())
    return answer


def test_html_validate_finds_nothing_but_what_mails_need(post: Post, tmp_path: Path) -> None:
    pages = {made.name: made.page for made in post.mails if made.language.tag in ("en", "ar")}
    told = asked("html_validate.mjs", {"pages": pages, "off": sorted(OFF)}, tmp_path)
    assert told.keys() == pages.keys()
    assert {name: found[:5] for name, found in told.items() if found} == {}


def test_html_validate_would_find_a_broken_page(post: Post, tmp_path: Path) -> None:
    page = post.mails[0].page
    broken = {
        "no alt": page.replace("</body>", '<img src="https://papers.example/a.png"></body>'),
        "not closed": page.replace("</h1>", "", 1),
        "id twice": page.replace("</body>", '<p id="a"></p><p id="a"></p></body>'),
    }
    told = asked("html_validate.mjs", {"pages": broken, "off": sorted(OFF)}, tmp_path)
    assert [name for name, found in told.items() if not found] == []


class Anything(ChainableUndefined):
    """A value for every name of a template: a word, a list of one, a mapping of everything."""

    def __str__(self) -> str:
        return "https://papers.example/x"

    def __html__(self) -> str:
        return str(self)

    def __iter__(self) -> Any:
        return iter([self])

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = ChainableUndefined.__hash__

    def __call__(self, *_: object, **__: object) -> Any:
        return self


def sources() -> dict[str, str]:
    """Each mail's MJML as an engine would see it, in a language of each direction."""
    files = {
        path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.[mth][jtx]*")
    }
    environment = Environment(
        loader=DictLoader(files), autoescape=True, undefined=Anything, extensions=["jinja2.ext.i18n"]
    )
    translation.install(environment)
    made = {}
    for language in (LANGUAGES[0], translation.of("ar")):
        with translation.speaking(language):
            for name in files:
                if name.endswith("/body.mjml"):
                    template = environment.from_string(mjml.included(name, files))
                    made[f"{name} {language.tag}"] = template.render(interests=2, words=2, digests=2, deliveries=2)
    return made


def test_the_reference_implementation_of_mjml_knows_every_element_and_attribute(tmp_path: Path) -> None:
    given = sources()
    told = asked("mjml_lint.mjs", given, tmp_path)
    assert told.keys() == given.keys()
    assert {name: found for name, found in told.items() if found} == {}


def test_the_lint_would_find_a_wrong_element_and_a_wrong_attribute(tmp_path: Path) -> None:
    page = "<mjml><mj-body><mj-section><mj-column>{}</mj-column></mj-section></mj-body></mjml>"
    told = asked(
        "mjml_lint.mjs",
        {"element": page.format("<mj-foo>x</mj-foo>"), "attribute": page.format('<mj-text colour="red">x</mj-text>')},
        tmp_path,
    )
    assert all(told.values())


def points(contents: list[bytes]) -> list[tuple[float, str]]:
    """SpamAssassin's scores by its local rules, and which hit; all in one run, since it takes a second to wake."""
    program = shutil.which("spamassassin")
    if program is None:
        pytest.skip("SpamAssassin is not on this machine")
    box = b"".join(
        b"From digest@papers.example Tue Nov 24 07:00:00 2026\n" + content.replace(b"\r\n", b"\n") + b"\n"
        for content in contents
    )
    run = subprocess.run([program, "-L", "-t", "--mbox"], input=box, capture_output=True, check=True, timeout=110)
    found = _STATUS.findall(run.stdout.decode(errors="replace"))
    assert len(found) == len(contents), run.stdout[:500]
    return [(float(score), " ".join(hits.split())) for score, hits in found]


def test_spamassassin_has_nothing_against_any_mail_in_any_language(post: Post) -> None:
    scores = points([made.content for made in post.mails])
    told = {made.name: score for made, score in zip(post.mails, scores, strict=True) if score[0] >= MOST_POINTS}
    assert told == {}


def test_spamassassin_would_mind_spam(post: Post) -> None:
    marker = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
    spam = post.mails[0].content.replace(b"quoted-printable\r\n\r\n", b"quoted-printable\r\n\r\n" + marker + b"\r\n", 1)
    ((score, hits),) = points([spam])
    assert score >= MOST_POINTS
    assert "GTUBE" in hits
