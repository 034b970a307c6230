"""State for the HTTP interface: decisions, incidents and settings, from the index first, then from the topics."""

from __future__ import annotations

import threading
import time

import structlog
from confluent_kafka import KafkaException

from app.clock import now_ms
from app.errors import UserError
from app.history.rows import is_older
from app.history.view import current
from app.kafka.broker import Broker, probe, tail
from app.security.keys import Keys
from models.bounded import keep
from models.safety.context import SafetyContext
from models.safety.signing import Refused
from models.safety.switch import KillSwitch
from topics.codec import DecodeError, decode
from topics.decisions import DECISIONS, Decision
from topics.incidents import INCIDENTS, Incident
from topics.settings import SETTINGS, Setting
from topics.spec import Instant, Raw, Record

log = structlog.get_logger()

KEPT = 5_000  # decisions, and as many incidents
RETRY_S = 1.0
STALLED_S = 10.0  # seconds without activity after which the reader counts as stuck
PROBED_S = 2.0  # seconds for which a check of the broker is reused


class ReadModel:
    """Newest state of decisions, incidents, the kill switch and maintenance. One thread writes; any may read."""

    def __init__(self, broker: Broker, keys: Keys) -> None:
        self.broker, self._keys = broker, keys
        self.decisions: dict[str, Decision] = {}
        self.incidents: dict[str, Incident] = {}
        self.switch = KillSwitch()
        self._around = SafetyContext()
        self.ready = threading.Event()  # set while the state is up to date
        self._over = threading.Event()
        self._beat = time.monotonic()  # last activity of the reader
        self._probe = threading.Lock()
        self._probed, self._away = 0.0, False  # last check of the broker, and whether it failed
        self._thread = threading.Thread(target=self._run, name="read-model", daemon=True)

    def start(self) -> None:
        """Start the reader's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the reader and wait for its end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def trouble(self) -> str:
        """Why the state may be old; empty when it is up to date, its reader works and the broker answers."""
        if not self._thread.is_alive():
            return "the reader of the topics has ended"
        if not self.ready.is_set():
            return "what happened is still being read"
        if time.monotonic() - self._beat > STALLED_S:
            return "the reader of the topics is stuck"
        with self._probe:
            if time.monotonic() - self._probed > PROBED_S:
                self._away = probe(self.broker, 2.0) is not None
                self._probed = time.monotonic()
        return "the broker does not answer" if self._away else ""

    def maintained(self) -> dict[str, int]:
        """Scopes under maintenance, each with its end (ms since 1970)."""
        now = now_ms()
        return {scope: until for scope, until in dict(self._around.maintained).items() if until > now}

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._follow()
            except (UserError, KafkaException) as error:
                log.warning("the topics cannot be followed", cause=str(error))
            except Exception as error:  # this thread must go on: without it, votes use old decisions
                log.error("the reader of the topics broke and begins again", exc_info=error)
            self.ready.clear()
            self._over.wait(RETRY_S)

    def _follow(self) -> None:
        """Read the index, then the topics. Their ends are fixed before, so that no record is missed in between."""
        topics = (DECISIONS, INCIDENTS, SETTINGS)
        coming = tail(self.broker, [topic.name for topic in topics], stop=self._stopping)
        with current(self.broker, [topic.name for topic in topics]) as view:
            for topic in (INCIDENTS, DECISIONS):
                for record in reversed(view.newest(topic, limit=KEPT)):
                    self.see(record)
            for read in view.recorded([SETTINGS]):
                self.see(read.record, read.arrived)
        self._beat = time.monotonic()
        self.ready.set()
        for raw in coming:
            self._take(raw)

    def _stopping(self) -> bool:
        self._beat = time.monotonic()
        return self._over.is_set()

    def _take(self, raw: Raw) -> None:
        try:
            self.see(decode(raw).record, raw.arrived)
        except DecodeError:
            return  # the agent that reads it dead-letters it
        except Exception as error:  # one broken record must not end the reader
            log.error("a record is left out of the answers", origin=str(raw.origin), cause=repr(error))

    def see(self, record: Record, arrived: Instant = 0) -> None:
        """Apply one record, which arrived at the broker at `arrived` (ms; 0: now)."""
        match record:
            case Decision() if not is_older(record, self.decisions.get(record.id)):
                keep(self.decisions, record.id, record, KEPT)
            case Incident() if not is_older(record, self.incidents.get(record.id)):
                keep(self.incidents, record.id, record, KEPT)
            case Setting():
                try:
                    self.switch.take(record, self._keys, arrived or now_ms())
                    self._around.maintain(record, self._keys)
                except Refused:
                    return  # the gate reports the refusal
