"""Requests as protocols see them: decompressed within bounds, and the answers to them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Final

import cramjam

from topics.formats.naming import Naming
from topics.spec import Instant, Topic

if TYPE_CHECKING:
    from app.ingest.receive.parts import Parts

ENCODINGS: Final = "gzip, snappy (in its block format) or none"
TEXT: Final = "text/plain; charset=utf-8"


class NotAccepted(Exception):
    """A request of which nothing is taken: the status and one line that says what is wrong with it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(frozen=True, slots=True)
class Posted:
    """What was posted to a route."""

    path: str
    body: bytes  # decompressed
    media: str  # type of the content, in small letters; empty: the sender did not say
    parameters: Mapping[str, str]  # of the content type, by their names in small letters
    headers: Mapping[str, str]  # by their names in small letters
    arrived: Instant
    naming: Naming = field(default_factory=Naming)  # what its labels say of entities


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request."""

    status: int
    body: bytes = b""
    media: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one route reads what is posted to it, and answers."""

    path: str
    topic: Topic  # whose dead-letter topic gets the parts that are refused
    read: Callable[[Posted], Parts]
    """Raises NotAccepted when nothing can be taken."""
    answer: Callable[[Posted, Parts], Reply]
    """Called when the broker has every part that was not refused."""
    refuse: Callable[[str, int, str], Reply]
    """The answer of a status and a line of text to a request of a media type, of which nothing was taken."""
    busy: int = 429
    """The status when the broker lags: the one after which this protocol's senders come again."""
    encoding: str = ""
    """How a request is compressed that does not say it."""


def media_of(content_type: str) -> tuple[str, dict[str, str]]:
    """A content type as its media type and its parameters, with names in small letters."""
    message = Message()
    message["content-type"] = content_type
    (media, _), *parameters = message.get_params([("", "")])
    return media.strip().lower(), {name.lower(): value for name, value in parameters}


def inflate(body: bytes, encoding: str, most: int) -> bytes:
    """A body without its compression, at most `most` bytes.

    Raises:
        NotAccepted: the compression is not known (415), the body is not compressed in it (400), or it is too large when
            it is decompressed (413). It is not decompressed further than that.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body, most)
        case "snappy":
            return _unsnappy(body, most)
    raise NotAccepted(415, f"content-encoding {encoding[:40]!r} is not read: send {ENCODINGS}")


def _gunzip(body: bytes, most: int) -> bytes:
    found = bytearray()
    while body:
        member = zlib.decompressobj(wbits=31)
        try:
            found += member.decompress(body, most - len(found) + 1)
        except zlib.error as error:
            raise NotAccepted(400, f"the body is not gzip: {error}") from None
        if len(found) > most:
            raise _too_large(most)
        if not member.eof:
            raise NotAccepted(400, "the body is not gzip: it is cut")
        body = member.unused_data
    return bytes(found)


def _unsnappy(body: bytes, most: int) -> bytes:
    if not body:
        raise NotAccepted(400, "the body is not snappy: it is empty")
    try:
        if cramjam.snappy.decompress_raw_len(body) > most:
            raise _too_large(most)
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise NotAccepted(400, f"the body is not snappy in its block format: {error}"[:200]) from None


def _too_large(most: int) -> NotAccepted:
    return NotAccepted(413, f"the body has more than {most} bytes when it is decompressed: send smaller batches")
