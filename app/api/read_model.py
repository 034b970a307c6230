"""What the HTTP interface answers from: decisions, incidents and settings, from the index first, then as they come."""

from __future__ import annotations

import threading

import structlog
from confluent_kafka import KafkaException

from app.clock import now_ms
from app.errors import UserError
from app.history.rows import is_older
from app.history.view import current
from app.kafka.broker import Broker, tail
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

KEPT = 5_000  # decisions and incidents, each
RETRY_S = 1.0


class ReadModel:
    """The newest state of decisions, incidents, the kill switch and maintenance. Read by any thread, written by one."""

    def __init__(self, broker: Broker, keys: Keys) -> None:
        self.broker, self._keys = broker, keys
        self.decisions: dict[str, Decision] = {}
        self.incidents: dict[str, Incident] = {}
        self.switch = KillSwitch()
        self._around = SafetyContext()
        self.ready = threading.Event()  # set while what is here is up to date
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-model", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def maintained(self) -> dict[str, int]:
        """Scopes under maintenance, each with its end (ms)."""
        now = now_ms()
        return {scope: until for scope, until in dict(self._around.maintained).items() if until > now}

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._follow()
            except (UserError, KafkaException) as error:
                log.warning("the topics cannot be followed", cause=str(error))
            self.ready.clear()
            self._over.wait(RETRY_S)

    def _follow(self) -> None:
        """Take what there is, then what comes; the end of the topics is fixed first, so nothing falls between."""
        topics = (DECISIONS, INCIDENTS, SETTINGS)
        coming = tail(self.broker, [topic.name for topic in topics], stop=self._over.is_set)
        with current(self.broker, [topic.name for topic in topics]) as view:
            for topic in (INCIDENTS, DECISIONS):
                for record in reversed(view.newest(topic, limit=KEPT)):
                    self.see(record)
            for read in view.recorded([SETTINGS]):
                self.see(read.record, read.arrived)
        self.ready.set()
        for raw in coming:
            self._take(raw)

    def _take(self, raw: Raw) -> None:
        try:
            self.see(decode(raw).record, raw.arrived)
        except DecodeError:
            return  # its agent has dead-lettered it

    def see(self, record: Record, arrived: Instant = 0) -> None:
        """Take in one record, which reached the broker at `arrived` (0: now)."""
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
                    return  # the gate tells why
