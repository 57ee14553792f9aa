"""What goes in and out of the API, as OpenAPI describes it."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field

from service.papers.announced import Dated, EditionView
from service.subscribers.accounts import ReaderView
from service.subscribers.interests import InterestView
from service.subscribers.topics.catalogue import TopicEntry


class Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class In(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemOut(Out):
    """A problem (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[str] = []


class PaperOut(Out):
    id: int
    title: str
    abstract: str
    tldr: str | None
    authors: list[str]
    author_count: int
    organization: str | None
    categories: list[str]
    keywords: list[str]
    published_on: date | None
    listed_on: date
    upvotes: int | None
    comments: int | None
    url: str | None
    pdf_url: str | None
    code_url: str | None
    project_url: str | None
    withdrawn: bool
    edition: int | None
    first_seen_at: datetime
    updated_at: datetime
    page_url: str

    @classmethod
    def of(cls, dated: Dated, origin: str) -> PaperOut:
        paper = dated.paper
        return cls(
            id=paper.id,
            title=paper.title,
            abstract=paper.abstract,
            tldr=paper.tldr,
            authors=list(paper.authors),
            author_count=paper.author_count,
            organization=paper.organization,
            categories=list(paper.categories),
            keywords=list(paper.keywords),
            published_on=paper.published_on,
            listed_on=paper.listed_on,
            upvotes=paper.upvotes,
            comments=paper.comments,
            url=paper.url,
            pdf_url=paper.pdf_url,
            code_url=paper.code_url,
            project_url=paper.project_url,
            withdrawn=paper.withdrawn,
            edition=paper.edition_id,
            first_seen_at=dated.first_seen_at,
            updated_at=dated.updated_at,
            page_url=f"{origin}/papers/{paper.id}",
        )


class PapersOut(Out):
    papers: list[PaperOut]
    next: str | None = Field(description="The cursor of the next page; the Link header holds its whole address.")


class FoundOut(PapersOut):
    total: int
    explained: str = Field(description="The query in words.")


class TopicOut(Out):
    slug: str
    name: str
    description: str
    group: str
    query: str

    @classmethod
    def of(cls, topic: TopicEntry) -> TopicOut:
        return cls(
            slug=topic.slug, name=topic.name, description=topic.description, group=topic.group, query=topic.query
        )


class TopicsOut(Out):
    topics: list[TopicOut]


class EditionOut(Out):
    id: int
    cut_at: datetime
    paper_count: int

    @classmethod
    def of(cls, edition: EditionView) -> EditionOut:
        return cls(id=edition.id, cut_at=edition.cut_at, paper_count=edition.paper_count)


class EditionsOut(Out):
    editions: list[EditionOut]
    next: str | None


class InterestsIn(In):
    topics: list[str] = Field(default=[], max_length=100, description="Slugs of topics to follow.")
    queries: list[str] = Field(default=[], max_length=100, description="Queries to follow.")
    muted: list[str] = Field(default=[], max_length=100, description="Queries never to be sent.")


class SubscriptionIn(InterestsIn):
    email: str = Field(max_length=320)
    hour: int = Field(default=7, ge=0, le=23)
    timezone: str = Field(default="UTC", max_length=64)
    weekdays: int = Field(default=127, ge=1, le=127, description="Bit 0 is Monday, bit 6 Sunday.")
    paper_limit: int | None = Field(default=None, ge=1, le=50)


class EmailIn(In):
    email: str = Field(max_length=320)


class CodeIn(In):
    code: str = Field(max_length=500, description="The last part of the link in the mail.")


class SaidOut(Out):
    detail: str


class TokenOut(Out):
    token: str
    expires_at: datetime


class InterestOut(Out):
    label: str
    query: str
    topic: str | None
    muted: bool

    @classmethod
    def of(cls, interest: InterestView) -> InterestOut:
        return cls(label=interest.label, query=interest.canonical, topic=interest.topic_slug, muted=interest.muted)


class PreferencesOut(Out):
    email: str
    state: str
    hour: int
    timezone: str
    weekdays: int
    paper_limit: int
    next_digest_at: datetime | None
    interests: list[InterestOut]

    @classmethod
    def of(cls, reader: ReaderView, held: list[InterestView]) -> PreferencesOut:
        return cls(
            email=reader.email,
            state=reader.state.value,
            hour=reader.hour,
            timezone=reader.timezone,
            weekdays=reader.weekdays,
            paper_limit=reader.paper_limit,
            next_digest_at=reader.next_digest_at,
            interests=[InterestOut.of(each) for each in held],
        )


class PreferencesIn(In):
    """What is left out stays as it is; ``interests`` replaces all of them."""

    hour: int | None = Field(default=None, ge=0, le=23)
    timezone: str | None = Field(default=None, max_length=64)
    weekdays: int | None = Field(default=None, ge=1, le=127)
    paper_limit: int | None = Field(default=None, ge=1, le=50)
    interests: InterestsIn | None = None


class FeedOut(Out):
    atom: str
    rss: str
    json_feed: str
