"""A real Kafka on this host: pinned jars and KRaft nodes on loopback, started and stopped by process id.

For development, tests and drills; not a production deployment. Nodes are controllers and brokers at once.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil
from confluent_kafka import KafkaException

from app.errors import UserError
from app.kafka.broker import Broker, admin

VERSION: Final = "4.1.1"
READY_S: Final = 120.0
INSTALL: Final = "On Debian as root: apt-get install -y openjdk-17-jre-headless maven"
Progress = Callable[[str], None]

_HERE = Path(__file__).parent
_STATE = "cluster.json"
# the node ends with its parent, so a killed test leaves no broker (prctl 1 = PR_SET_PDEATHSIG; exec keeps it)
_LEASH: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == int(sys.argv[1]) and os.execvp(sys.argv[2], sys.argv[2:])"
)
_children: Final[dict[int, subprocess.Popen[bytes]]] = {}  # keeps each Popen alive, so that its process is reaped
_SETTINGS: Final[dict[str, object]] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 2,
    "share.coordinator.state.topic.min.isr": 1,
    "num.io.threads": 4,
    "num.network.threads": 2,
    "background.threads": 2,
    "log.cleaner.dedupe.buffer.size": 8_388_608,
    "log.cleaner.backoff.ms": 500,
    # partitions of a dead worker are reassigned after six seconds; a first member does not wait for others
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1_000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 100,  # the new owner gets a revoked partition at its next heartbeat
    "group.consumer.min.session.timeout.ms": 3_000,
    "group.consumer.session.timeout.ms": 6_000,
    # partitions of a dead broker get a new leader before the sessions of workers expire
    "broker.session.timeout.ms": 3_000,
    "broker.heartbeat.interval.ms": 500,
    "controller.quorum.fetch.timeout.ms": 1_500,
    "controller.quorum.election.timeout.ms": 600,
}


class Node(msgspec.Struct):
    """One node: its ports and its process id (0 before its start)."""

    id: int
    port: int
    controller_port: int
    pid: int = 0
    born: float = 0.0  # start time of the process: a process with the same id but another start time is not this node

    @property
    def address(self) -> str:
        """The address of clients, `host:port`."""
        return f"127.0.0.1:{self.port}"

    def process(self) -> psutil.Process | None:
        """The running process of the node, or None."""
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.pid) if self.pid else None
            if found and found.create_time() == self.born and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None


class _State(msgspec.Struct):
    cluster: str
    nodes: list[Node]


class LocalKafka:
    """A cluster whose data is in `folder`. `start` and `stop` keep the data; `delete` removes it."""

    def __init__(
        self, folder: Path, nodes: int = 1, port: int | None = None, *, detached: bool = False, heap_mb: int = 512
    ) -> None:
        """`port`: of the first node; the others follow; None: free ports. `detached` nodes outlive this process."""
        self.folder = folder
        self.detached = detached
        self.heap_mb = heap_mb
        kept = _load(folder)
        self._state = kept or _State(_cluster_id(), list(_planned(nodes, port)))

    @property
    def nodes(self) -> list[Node]:
        """The nodes of the cluster, in the order of their ids."""
        return self._state.nodes

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, as `bootstrap.servers`."""
        return ",".join(node.address for node in self.nodes)

    @property
    def broker(self) -> Broker:
        """The broker settings of a client of this cluster."""
        return Broker(self.bootstrap)

    def start(self, progress: Progress = lambda _: None) -> str:
        """Format what is new, start what does not run, wait until all nodes serve; returns the bootstrap servers.

        Raises:
            UserError: no Java, no Maven, a port in use, or a node that ends at once, with its last words.
        """
        jars = install(progress)
        for port in (port for node in self.nodes if not node.process() for port in (node.port, node.controller_port)):
            _require_free(port)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._save()
        for node in self.nodes:
            self._home(node).mkdir(exist_ok=True)
            if not (self._home(node) / "data" / "meta.properties").exists():
                progress(f"formatting node {node.id}")
                self._format(node, jars)
        for node in self.nodes:
            self.start_node(node.id, jars)
        progress("waiting for the broker")
        self._await_ready()
        return self.bootstrap

    def start_node(self, node_id: int, jars: Path | None = None) -> None:
        """Start one node without waiting until it serves."""
        node = self._node(node_id)
        if node.process():
            return
        command = _java(self.heap_mb, self._home(node) / "kafka.log", jars or install())
        command += ["kafka.Kafka", str(self._properties(node))]
        if not self.detached:
            command = [sys.executable, "-ISc", _LEASH, str(os.getpid()), *command]
        with (self._home(node) / "console.log").open("wb") as console:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd=self._home(node),
                start_new_session=self.detached,
            )  # fmt: skip
        _children[child.pid] = child
        node.pid, node.born = child.pid, psutil.Process(child.pid).create_time()
        self._save()

    def kill(self, node_id: int, sig: int = signal.SIGKILL) -> None:
        """Send a signal to one node. When the signal ends it, return after its end."""
        node = self._node(node_id)
        if process := node.process():
            process.send_signal(sig)
            if sig in (signal.SIGKILL, signal.SIGTERM):
                _await_end(process, 20.0)

    def stop(self) -> None:
        """Stop all nodes: SIGTERM first, then SIGKILL (the last of three has no quorum and ignores SIGTERM)."""
        running = [(node, process) for node in self.nodes if (process := node.process())]
        for _, process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        limit = 10.0 if len(self.nodes) == 1 else 4.0
        for _, process in running:
            _await_end(process, limit)
        for node in self.nodes:
            node.pid, node.born = 0, 0.0
        if self.folder.exists():
            self._save()

    def delete(self) -> None:
        """Remove the data and everything else in the run folder, after `stop`."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> LocalKafka:
        try:
            self.start()
        except BaseException:
            self.stop()  # end the nodes that did start
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _node(self, node_id: int) -> Node:
        return next(node for node in self.nodes if node.id == node_id)

    def _home(self, node: Node) -> Path:
        return self.folder / f"node-{node.id}"

    def _save(self) -> None:
        new = self.folder / f"{_STATE}.new"
        new.write_bytes(msgspec.json.encode(self._state))
        new.replace(self.folder / _STATE)

    def _properties(self, node: Node) -> Path:
        copies = min(3, len(self.nodes))
        safe = max(1, copies - 1)
        settings = _SETTINGS | {
            "node.id": node.id,
            "controller.quorum.voters": ",".join(f"{n.id}@127.0.0.1:{n.controller_port}" for n in self.nodes),
            "listeners": f"PLAINTEXT://{node.address},CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{node.address}",
            "log.dirs": self._home(node) / "data",
            "default.replication.factor": copies,
            "offsets.topic.replication.factor": copies,
            "share.coordinator.state.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": safe,
            "min.insync.replicas": safe,
        }
        path = self._home(node) / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return path

    def _format(self, node: Node, jars: Path) -> None:
        command = _java(128, self._home(node) / "format.log", jars)
        identity = f"--cluster-id={self._state.cluster}"  # with `=`: an id may begin with a dash
        command += ["kafka.tools.StorageTool", "format", identity, "-c", str(self._properties(node))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"Kafka could not be formatted: {_last_line(done.stdout + done.stderr)}")

    def _await_ready(self) -> None:
        end = time.monotonic() + READY_S
        client = admin(self.broker)
        while time.monotonic() < end:
            if dead := next((node for node in self.nodes if not node.process()), None):
                words = (self._home(dead) / "console.log").read_text(errors="replace")
                words += (self._home(dead) / "kafka.log").read_text() if not words.strip() else ""
                self.stop()
                raise UserError(f"Kafka ended at once: {_last_line(words)}", f"Its logs are in {self._home(dead)}.")
            with contextlib.suppress(KafkaException):
                known = client.list_topics(timeout=0.5).brokers
                if len(known) == len(self.nodes) and all(_listens(node.port) for node in self.nodes):
                    return
            time.sleep(0.05)
        self.stop()
        raise UserError(f"Kafka was not ready after {READY_S:g} s", f"Its logs are in {self.folder}.")


def _await_end(process: psutil.Process, limit: float) -> None:
    try:
        process.wait(limit)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(10)
    if child := _children.pop(process.pid, None):
        child.wait(10)


def running(folder: Path) -> LocalKafka | None:
    """The cluster that was started in `folder`, or None. Its nodes may have ended."""
    return LocalKafka(folder, detached=True) if _load(folder) else None


def install(progress: Progress = lambda _: None) -> Path:
    """The folder of the pinned jars, which Maven fetches once a user (54 MB).

    Raises:
        UserError: Java or Maven is missing, or Maven failed.
    """
    if not shutil.which("java"):
        raise UserError("Kafka needs Java 17 or newer, and there is none on the path", INSTALL)
    jars = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opsloop" / f"kafka-{VERSION}"
    if jars.is_dir():
        return jars
    if not shutil.which("mvn"):
        raise UserError("Kafka's jars are fetched by Maven, and there is none on the path", INSTALL)
    progress(f"fetching Apache Kafka {VERSION}, once")
    new = jars.with_name(f"{jars.name}.{os.getpid()}")
    command = ["mvn", "-q", "-B", "-f", str(_HERE / "pom.xml"), "dependency:copy-dependencies"]
    done = subprocess.run([*command, f"-DoutputDirectory={new}"], capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(new, ignore_errors=True)
        raise UserError(f"Maven could not fetch Kafka: {_last_line(done.stdout)}", "Try `mvn -version`, or a mirror.")
    with contextlib.suppress(OSError):  # another process was first; use its folder
        new.rename(jars)
    shutil.rmtree(new, ignore_errors=True)
    return jars


def _java(heap_mb: int, log: Path, jars: Path) -> list[str]:
    return [
        "java", f"-Xmx{heap_mb}m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto",
        f"-Dlog4j2.configurationFile={_HERE / 'log4j2.xml'}", f"-Dopsloop.log={log}", "-cp", f"{jars}/*",
    ]  # fmt: skip


def _planned(nodes: int, port: int | None) -> Iterator[Node]:
    if port is not None:
        yield from (Node(i + 1, port + i, port + 100 + i) for i in range(nodes))
        return
    with contextlib.ExitStack() as held:  # hold all sockets at once, so that no port is chosen twice
        free = [held.enter_context(socket.socket()) for _ in range(2 * nodes)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in free]
    yield from (Node(i + 1, ports[2 * i], ports[2 * i + 1]) for i in range(nodes))


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _require_free(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(
                f"port {port} is in use by another program", "Choose another one: opsloop kafka up --port 19092"
            ) from None


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _load(folder: Path) -> _State | None:
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=_State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "Exception" in line]
    return (errors or lines or ["no words"])[-1 if not errors else 0][:300]
