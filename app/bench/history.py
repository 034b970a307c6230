"""Measures commands over a long history: the rate of the first index, and the time of each command as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
from confluent_kafka import Producer

from app.bench.lane import broker_for_bench
from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker, partition_of, producer_config
from app.kafka.places import extents
from app.printing import err, print_json, print_table
from topics.actions import COMMANDS, RESULTS, Command, Result, SignedCommand
from topics.approvals import APPROVALS, Approval
from topics.audit import AUDIT, GENESIS, AuditEntry
from topics.codec import encode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.incidents import INCIDENTS, Hypothesis, Incident, State, SymptomKind
from topics.proposals import PROPOSALS, Option, Proposal
from topics.signals import ANOMALIES, Anomaly, Contribution
from topics.spec import Instant, Record, derive
from topics.verdicts import VERDICTS, Effect, Verdict

SYSTEMS: Final = 100
ANOMALIES_EACH: Final = 22  # anomalies of one incident
ROUNDS: Final = 5  # runs of each command; the median counts
HISTORY: Final = (
    ANOMALIES, INCIDENTS, PROPOSALS, DECISIONS, APPROVALS, COMMANDS, RESULTS, VERDICTS, AUDIT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ran:
    """Time and memory of a process."""

    seconds: float
    cpu_s: float
    memory_mb: float  # its largest resident memory
    out: bytes


def run(address: str, records: int, json: bool) -> None:
    """Write a history of `records`, index it, and time `incidents`, `decisions` and `explain`."""
    with broker_for_bench(address) as broker, tempfile.TemporaryDirectory() as home:
        asked = fill(broker, records)
        err.print(f"· {records:,} records are on the broker")
        found = measured(broker, Path(home), asked) | {"records": records}
    if json:
        print_json(found)
    else:
        print_table("History", ("figure", "value"), ((name, f"{value:,.3g}") for name, value in found.items()))


def measured(broker: Broker, home: Path, incident: str) -> dict[str, float]:
    """Seconds of each command, the rate of the first index, and the largest memory of any command."""
    where = ("--broker", broker.bootstrap)
    first = _opsloop(home, "history", "rebuild", "--json", *where)
    built = msgspec.json.decode(first.out.splitlines()[-1])
    err.print(f"· {built['messages']:,} messages were indexed in {built['seconds']:.1f} s")
    commands = {"incidents_s": ["incidents"], "decisions_s": ["decisions"], "explain_s": ["explain", incident]}
    runs: dict[str, list[Ran]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, line in commands.items():
            runs[name].append(_opsloop(home, *line, *where))
    if incident[:8].encode() not in runs["explain_s"][0].out:
        raise UserError("the explanation is of another incident", exit_code=1)
    return {
        "index_records_per_s": built["messages"] / built["seconds"],
        "index_records_per_cpu_s": built["messages"] / first.cpu_s,
        **{name: median(ran.seconds for ran in each) for name, each in runs.items()},
        "memory_mb": max(first.memory_mb, *(ran.memory_mb for each in runs.values() for ran in each)),
        "index_mb": built["kept"]["bytes"] / 1e6,
    }


def _opsloop(home: Path, *line: str) -> Ran:
    """Run a command. Raises UserError when it fails, with its last line of output."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *line], stdout=out, stderr=words, env=os.environ | {"OPSLOOP_HOME": str(home)}
        )
        memory_mb, ended = 0.0, 0
        while not ended:
            time.sleep(0.005)
            memory_mb = max(memory_mb, _resident_mb(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        words.seek(0)
        if process.returncode:
            last = (words.read().decode(errors="replace").splitlines() or ["no words"])[-1]
            raise UserError(f"opsloop {line[0]} failed: {last}", exit_code=1)
        return Ran(seconds, usage.ru_utime + usage.ru_stime, memory_mb, out.read())


def _resident_mb(pid: int) -> float:
    """The largest resident memory of a process so far. The kernel's figure at exit includes its parent before exec."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0  # it has ended
    return next((float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), 0.0)


def fill(broker: Broker, records: int) -> str:
    """Write episodes from anomaly to verdict, with audit, `records` in all. Returns the id of an incident amid them."""
    writer, incidents = _Writer(broker), list[str]()
    began = now_ms() - records // 50
    while writer.written < records:
        ts = began + len(incidents)
        episode = episode_of(len(incidents), ts)
        incidents.append(derive("bench-incident", len(incidents)))
        writer.write(episode, ts, records)
    writer.finish()
    return incidents[len(incidents) // 2]


class _Writer:
    """Publishes records, and the audit entries of those that are audited."""

    def __init__(self, broker: Broker) -> None:
        self._producer = Producer(producer_config(broker, compression="lz4") | {"queue.buffering.max.messages": 50_000})
        self._next = {place: extent.high for place, extent in extents(broker, [t.name for t in HISTORY]).items()}
        self._seq: dict[int, int] = defaultdict(int)
        self.written = 0

    def write(self, episode: Sequence[Record], ts: Instant, most: int) -> None:
        for record in episode:
            for each in self._with_audit(record, ts):
                if self.written < most:
                    self._put(each)

    def _with_audit(self, record: Record, ts: Instant) -> Iterator[Record]:
        yield record
        if isinstance(record, Anomaly):
            return
        message = encode(record)
        chain = partition_of(message.key, AUDIT.partitions)
        place = (message.topic.name, partition_of(message.key, message.topic.partitions))
        body = msgspec.Raw(message.value if message.value[:1] == b"{" else msgspec.json.encode(record))
        yield AuditEntry(
            chain=chain, seq=self._seq[chain], ts=ts, domain=message.key.decode(), topic=place[0],
            origin=f"{place[0]}-{place[1]}-{self._next[place] - 1}", body=body, previous=GENESIS, applied={},
            hash=GENESIS,
        )  # fmt: skip
        self._seq[chain] += 1

    def _put(self, record: Record) -> None:
        message = encode(record)
        place = (message.topic.name, partition_of(message.key, message.topic.partitions))
        while True:
            try:
                self._producer.produce(place[0], message.value, message.key, place[1], headers=message.headers)
                break
            except BufferError:
                self._producer.poll(0.05)
        self._next[place] += 1
        self.written += 1

    def finish(self) -> None:
        """Wait until the broker has everything. Raises UserError when it has not within a minute."""
        if left := self._producer.flush(60):
            raise UserError(f"{left} records were not delivered", exit_code=1)


def episode_of(number: int, ts: Instant) -> list[Record]:
    """The records of one incident: anomalies, states, proposal, states of the decision, vote, command, result."""
    incident, entity = derive("bench-incident", number), f"bench{number % SYSTEMS}/service/{number % 7}"
    proposal = _proposal(incident, entity, ts)
    decision, command = derive("decision", proposal.id), derive("command", proposal.id)
    claim = Command(
        id=command, decision=decision, incident=incident, ts=ts, action=proposal.action, target=entity, parameters={},
        expires=ts + 30_000,
    )  # fmt: skip
    about: dict[str, Any] = {"incident": incident, "decision": decision, "command": command, "ts": ts}
    action: dict[str, Any] = {"action": proposal.action}
    return [
        *(_anomaly(entity, ts + look, number) for look in range(ANOMALIES_EACH)),
        _incident(incident, entity, ts, State.TRIGGERED, 0),
        proposal,
        _decision(proposal, decision, DecisionState.PENDING, 1),
        Approval(id=derive("vote", decision), decision=decision, system=entity.split("/")[0], ts=ts, voter="ana",
                 vote="approve", reason="seen it before"),
        _decision(proposal, decision, DecisionState.DISPATCHED, 2, command),
        SignedCommand(id=command, target=entity, ts=ts, key="bench", signature=b"s" * 64,
                      body=msgspec.Raw(msgspec.json.encode(claim))),
        _incident(incident, entity, ts, State.MITIGATING, 1),
        Result(id=derive("result", command), outcome="succeeded", detail="done", target=entity, **about, **action),
        Verdict(id=derive("verdict", command), entity=entity, effect=Effect.REMEDIATED, reasons=("no symptom",),
                **about, **action),
        _decision(proposal, decision, DecisionState.COMPLETED, 3, command),
        _incident(incident, entity, ts, State.RESOLVED, 2),
    ]  # fmt: skip


def _anomaly(entity: str, ts: Instant, number: int) -> Anomaly:
    shown = Contribution("http.server.own_duration.p95", 20.0, 0.5, 0.02)
    return Anomaly(
        id=derive("anomaly", entity, number), entity=entity, ts=ts, state="continuing", kind="point", score=2.0,
        grade="major", confidence=0.9, metric=shown.metric, direction="up", value=0.5, expected=0.02, low=0.0, high=0.1,
        onset=ts, attribution=(shown,) * 4, detector="bank", detector_version=1,
        evidence=f"opsloop.telemetry.metrics-0-{ts}",
    )  # fmt: skip


def _incident(identity: str, entity: str, ts: Instant, state: State, seq: int) -> Incident:
    why = tuple(Hypothesis(cause, entity, 0.9, ("nothing listens",)) for cause in ("process_gone", "overload"))
    return Incident(
        id=identity, entity=entity, symptom=SymptomKind.LATENCY, onset=ts, ts=ts + seq, state=state, step="confirm",
        seq=seq, priority=2, hypotheses=why, affected=(entity,), evidence=(f"opsloop.telemetry.metrics-0-{ts}",),
    )  # fmt: skip


def _proposal(incident: str, entity: str, ts: Instant) -> Proposal:
    options = tuple(
        Option(action, entity, 0.9, 0.8, {"rule": 0.9, "performance": 0.5, "cost": -0.1}, "rule", "process_gone")
        for action in ("restart_service", "scale_out", "rollback_config")
    )
    return Proposal(
        id=derive("bench-proposal", incident), ts=ts, action="restart_service", target=entity, parameters={},
        requester="decide", confidence=0.9, cause="process_gone", reasons=("process_gone",), incident=incident,
        options=options, context={"busy": 0.0, "load": 1.0}, signature=b"s" * 64,
    )  # fmt: skip


def _decision(proposal: Proposal, identity: str, state: DecisionState, states: int, command: str = "") -> Decision:
    return Decision(
        id=identity, ts=proposal.ts, state=state, proposal=proposal, tier="automatic", mode="approve",
        reasons=("mode approve", "ana says yes", "it helped")[:states], command=command,
    )  # fmt: skip
