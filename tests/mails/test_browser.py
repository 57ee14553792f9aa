"""Every mail in a real browser: at 320 px and at 640, by day and by night, from the left and from the right."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page

from service.database.tables import DeliveryKind
from tests.mails.conftest import LONG_WORD, SAME_AS_THE_DIGEST, Post

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(180)]

AXE: Final = Path(__file__).parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"
NARROW, WIDE = 320, 640
TAGS = ("en", "ar")
"""One language of each direction; the templates are the same for all."""

WHOLE_PAGES: Final = {
    "landmark-one-main": "a mail is shown inside a mail program's page, which has its own main landmark",
    "region": "for the same reason a mail adds no landmarks: it is one article",
}
"""Rules of axe-core that are about pages by themselves, and why they are not for mails."""

_CUT: Final = """() => {
  const told = [];
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) told.push(`scrolls sideways by ${wide} px`);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.left < -0.5 || box.right > document.documentElement.clientWidth + 0.5) told.push(`outside: ${node.data}`);
      for (let around = node.parentElement; around; around = around.parentElement) {
        const edge = around.getBoundingClientRect();
        if (getComputedStyle(around).overflow !== "visible" && around !== document.documentElement
            && (box.right > edge.right + 0.5 || box.left < edge.left - 0.5 || box.bottom > edge.bottom + 1))
          told.push(`cut: ${node.data}`);
      }
    }
  }
  return told;
}"""
"""What sticks out of the window, or is cut off by something around it."""


_LIGHTS: Final = """() => [["body", "backgroundColor"], [".paper", "backgroundColor"], ["h1", "color"]]
  .map(([what, kind]) => getComputedStyle(document.querySelector(what))[kind].match(/\\d+/g))
  .map(([red, green, blue]) => (+red + +green + +blue) / 3)
  .reduce(([ground, words], light, place) => place < 2 ? [Math.max(ground, light), words] : [ground, light], [0, 0])"""
"""How light the ground is, and the words on it: 0 to 255."""


def violations(page: Page) -> list[list[str]]:
    """What axe-core has against the page as it is shown: each rule, and where."""
    return list(
        page.evaluate(
            "off => axe.run({rules: Object.fromEntries(off.map(rule => [rule, {enabled: false}]))}).then(found =>"
            " found.violations.map(each => [each.id, each.nodes[0].html, each.nodes[0].failureSummary]))",
            list(WHOLE_PAGES),
        )
    )


def troubles(page: Page, content: str) -> list[str]:
    """Of one mail, looked at four times."""
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": NARROW, "height": 700})
    page.set_content(content)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    told = []
    for width in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": 700})
        told += [f"{width} px: {each}" for each in page.evaluate(_CUT)]
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            lights = page.evaluate(_LIGHTS)
            if (scheme == "dark") != (lights[0] < 100 and lights[1] > 150):
                told.append(f"{width} px, {scheme}: lights of ground and words {lights}")
            # Rules other than of colour find the same at any width.
            if (width, scheme) != (WIDE, "light"):
                told += [f"{width} px, {scheme}: {each}" for each in violations(page)]
    return told


@pytest.fixture
def page(chromium: Browser) -> Page:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci in tests/node")
    return chromium.new_page()


def test_every_mail_can_be_read_on_a_phone_in_the_dark_and_by_those_who_do_not_see(page: Page, post: Post) -> None:
    told = {made.name: troubles(page, made.page) for made in post.mails if made.language.tag in TAGS}
    assert len(told) == 2 * (len(set(DeliveryKind) - SAME_AS_THE_DIGEST) + 1)
    assert {name: found for name, found in told.items() if found} == {}
    page.close()


def test_a_pale_word_a_wide_table_and_a_word_cut_off_would_be_found(page: Page, post: Post) -> None:
    mail = post.of(DeliveryKind.DIGEST).page
    assert LONG_WORD in mail
    line = '<div style="width:90px;overflow:hidden;white-space:nowrap;">A line which is long</div><h1>'
    spoiled = {
        "color-contrast": mail.replace("<h1>", '<p style="color:#9aa0a6;">Pale</p><h1>', 1),
        "sideways": mail.replace("<h1>", '<div style="width:400px;">Wide</div><h1>', 1),
        "cut": mail.replace("<h1>", line, 1),
        "lights": mail.replace("(prefers-color-scheme: dark)", "(prefers-color-scheme: dim)"),
    }
    for name, content in spoiled.items():
        assert any(name in each for each in troubles(page, content)), name
    page.close()
