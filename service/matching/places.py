"""Where in a paper a query was found: what ranking goes by, and what a reason tells. Pure."""

from __future__ import annotations

from enum import IntFlag


class Place(IntFlag):
    """Of one match, everywhere it was found. The numbers are kept in match rows: never give one another meaning."""

    TAG = 1
    """A category or a source; or nothing but the absence of what was excluded."""
    ORGANIZATION = 2
    KEYWORDS = 4
    ABSTRACT = 8
    TITLE = 16
    PHRASE = 32
    """Several words in a row, in the title."""
    AUTHOR = 64
    DWELT_ON = 128
    """The abstract says it more than once, or introduces it with an abbreviation (``emphasis``)."""


TELLING = Place.AUTHOR | Place.PHRASE
"""By itself enough for the first tier."""
SIGNALS = Place.AUTHOR | Place.TITLE | Place.ABSTRACT | Place.KEYWORDS | Place.DWELT_ON
"""Each counts as one signal, of which two or more make the second tier."""
BITS = 8
