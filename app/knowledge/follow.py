"""The packs that hold while a worker runs: the compacted topic is read in the background, from its beginning on."""

from __future__ import annotations

from threading import Event, Thread
from typing import Final, Self

import structlog
from confluent_kafka import KafkaException

from app.errors import UserError
from app.kafka.broker import Broker, read_all, tail
from models.knowledge.packs import Packs
from models.safety.signing import Keyring, Refused
from models.versions import Book
from topics.codec import DecodeError, decode
from topics.meanings import Meanings
from topics.packs import PACKS, PackVersion
from topics.spec import Instant, Raw

log = structlog.get_logger()

RETRY_S: Final = 1.0
PATIENT_S: Final = 5.0  # for so long a worker waits at its start until it knows which packs hold


class PackBook:
    """What packs say of series, after each record of their topic."""

    def __init__(self, packs: Packs, keyring: Keyring) -> None:
        self.packs, self.keyring, self.book = packs, keyring, Book()
        self.said: Meanings = packs.meanings(self.book)

    def take(self, word: PackVersion, arrived: Instant) -> None:
        """Put a version in force. One that is not believed or cannot hold changes nothing: the loop says so."""
        try:
            self.book.take(word, self.keyring, self.packs.check, arrived)
            self.said = self.packs.meanings(self.book)
        except Refused:
            return
        except Exception as error:  # whatever is in it: what held before holds, and the lane goes on
            log.error("a version of a pack is left out", pack=word.name, version=word.version, exc_info=error)


class Follower:
    """Reads the topic in a thread of its own."""

    def __init__(self, broker: Broker, book: PackBook) -> None:
        self.broker, self.book = broker, book
        self._stop, self._caught_up = Event(), Event()

    def said(self) -> Meanings | None:
        """What packs say now; None while it is not known which of them hold."""
        return self.book.said if self._caught_up.is_set() else None

    def __enter__(self) -> Self:
        Thread(target=self._run, name="packs", daemon=True).start()
        self._caught_up.wait(PATIENT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _run(self) -> None:
        told = False
        while not self._stop.is_set():
            try:
                self._follow()
            except (UserError, KafkaException) as error:
                if not told:
                    log.warning("packs cannot be read: those that held before hold", topic=PACKS.name, cause=str(error))
                told = True
                self._stop.wait(RETRY_S)

    def _follow(self) -> None:
        later = tail(self.broker, [PACKS.name], from_end=False, stop=self._stop.is_set)
        for raw in read_all(self.broker, [PACKS.name]):
            self._take(raw)
        self._caught_up.set()
        for raw in later:  # the same once more, which changes nothing, and then what is new
            self._take(raw)

    def _take(self, raw: Raw) -> None:
        try:
            word = decode(raw).record
        except DecodeError:
            return
        if isinstance(word, PackVersion):
            self.book.take(word, raw.arrived)
