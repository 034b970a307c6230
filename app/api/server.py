"""The HTTP interface. Each route is in the table of app.api.routes, which names the operation that it needs.

A vote is signed here with the voter's key on this host, and checked again by the loop and by the actuator. A token
without such a key cannot vote.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.api.bodies import Login, Maintenance, Note, ProposalBody, Vote
from app.api.limits import HttpLimits
from app.api.pages import docs, index
from app.api.read_model import ReadModel
from app.api.routes import PUBLIC, ROUTES
from app.api.schemas import document
from app.api.settings import ApiSettings
from app.api.throttle import Throttle
from app.client import DeliveryError
from app.clock import now_ms
from app.decisions.requests import proposal as proposed
from app.errors import UserError
from app.history.queries import audit_entries
from app.kafka.broker import probe
from app.security.keys import Keys
from app.security.messages import answered, maintain, publish, resume, sign_request, stop, tell, tell_switch
from app.security.switch import LocalSwitch, Way, failures, of_this_host
from app.security.tokens import Tokens
from app.security.votes import cast_and_hear
from app.settings import home
from models.safety.roles import OPERATIONS, may
from models.safety.signing import Principal, Refused
from topics.decisions import Decision, DecisionState
from topics.incidents import Incident
from topics.proposals import Proposal
from topics.refusals import Refusal
from topics.settings import ACKNOWLEDGED, RESOLVED, SETTINGS, Setting
from topics.spec import derive

BEARER = HTTPBearer(auto_error=False)
Most = Annotated[int, Query(ge=1, le=500, description="At most so many, the newest")]


class Problem(Exception):
    """An error that becomes an answer with status, cause and remedy."""

    def __init__(self, status: int, code: str, error: str, remedy: str = "") -> None:
        super().__init__(error)
        self.status, self.code, self.error, self.remedy = status, code, error, remedy


def make_app(read_model: ReadModel, tokens: Tokens, settings: ApiSettings) -> HttpLimits:
    """The HTTP application, wrapped in its limits."""
    app = FastAPI(
        title="Opsloop", version="1", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
        max_body_size=settings.body_bytes,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )  # fmt: skip
    handlers = Handlers(app, read_model, tokens, settings)
    for (method, path), operation in ROUTES.items():
        handler = getattr(handlers, _name(method, path))
        needs = [Depends(_who(tokens, operation))] if operation != PUBLIC else []
        app.add_api_route(path, handler, methods=[method], dependencies=needs, operation_id=_name(method, path))
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(UserError, _cannot)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts))
    return HttpLimits(app, settings)


def _name(method: str, path: str) -> str:
    """`post_decisions_votes` of POST /decisions/{identity}/votes."""
    if path == "/":
        return method.lower()
    parts = (("one" if part.startswith("{") else part) for part in path.strip("/").split("/"))
    return "_".join((method.lower(), *parts)).replace("-", "_").replace(".", "_")


def _who(tokens: Tokens, operation: str) -> Callable[..., None]:
    """Make the dependency of a route: it returns the caller, who needs a valid token and the right to `operation`."""

    def check(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> None:
        if given is None:
            raise Problem(401, "no_token", "who asks is not known", "Send Authorization: Bearer TOKEN")
        try:
            who = tokens.check(given.credentials)
        except Refused as refused:
            raise Problem(401, refused.code, refused.detail, "Get a new one: opsloop user token NAME") from None
        if not may(who.roles, operation):
            roles = ", ".join(sorted(OPERATIONS[operation]))
            raise Problem(403, "wrong_role", f"{who.name} may not do this", f"It takes one of these roles: {roles}")
        request.state.who = who

    return check


class Handlers:
    """The handlers of the routes: one method for each row of the table, named after it."""

    def __init__(self, app: FastAPI, read_model: ReadModel, tokens: Tokens, settings: ApiSettings) -> None:
        self._app, self._read_model, self._tokens = app, read_model, tokens
        self._logins = Throttle(settings.logins_per_min / 60, settings.logins_per_min)
        self._one = threading.Lock()  # password hashing and reading the audit need much memory: one at a time

    def get(self) -> Response:
        """Links to the routes."""
        return _json(index())

    def get_docs(self) -> Response:
        """This list of routes, for a browser."""
        return Response(docs(self._app), media_type="text/html")

    def get_health(self) -> Response:
        """Whether answers are up to date: the reader works, has read everything, and the broker answers."""
        trouble = self._read_model.trouble()
        return _json({"status": "behind" if trouble else "ok", "cause": trouble}, 503 if trouble else 200)

    def get_openapi_json(self) -> Response:
        """This interface as OpenAPI."""
        return _json(document(self._app))

    def post_tokens(self, login: Login, request: Request) -> Response:
        """A token for a name and its password."""
        if wait := self._logins.wait_s(request.client.host if request.client else ""):
            raise Problem(429, "too_often", "too many attempts", f"Wait {wait:.0f} s")
        try:
            with self._one:
                return _json({"token": self._tokens.log_in(login.name, login.password)})
        except Refused as refused:
            raise Problem(401, refused.code, refused.detail) from None

    def get_me(self, request: Request) -> Response:
        """The principal of the token, and the operations that it may call."""
        who = _principal(request)
        operations = sorted(name for name in OPERATIONS if may(who.roles, name))
        return _json({"name": who.name, "roles": sorted(who.roles), "operations": operations})

    def get_decisions(self, state: DecisionState | None = None, limit: Most = 50) -> Response:
        """The newest decisions; `state=pending_approval` are those that wait for people."""
        found = [d for d in self._known(self._read_model.decisions) if state is None or d.state == state]
        return _json(sorted(found, key=lambda d: (-d.ts, d.id))[:limit])

    def get_decisions_one(self, identity: str) -> Response:
        """One decision as it stands."""
        return _json(self._decision(identity))

    def post_decisions_one_votes(self, identity: str, vote: Vote, request: Request) -> Response:
        """Vote on a decision that waits. Answers its new state, or 202 when no worker has answered in time."""
        decision = self._decision(identity)
        if decision.state is not DecisionState.PENDING or now_ms() >= decision.expires:
            state = "expired" if decision.state is DecisionState.PENDING else decision.state
            raise Problem(409, "late", f"the decision does not wait any more: it is {state}")
        who = _signer(request)
        self._reach()
        approval, said = cast_and_hear(self._read_model.broker, decision, vote.vote, who, vote.reason)
        return _heard(said, approval)

    def post_proposals(self, proposal: ProposalBody, request: Request) -> Response:
        """Propose an action. Another person has to approve it."""
        who = _signer(request)
        said = proposed(proposal.action, proposal.target, proposal.parameters, who, proposal.reason, proposal.expects)
        if proposal.request:
            said = msgspec.structs.replace(said, id=derive("proposal", who, proposal.request))
        self._tell(sign_request(said))
        return _json({"proposal": said.id, "decision": derive("decision", said.id)}, 202)

    def get_incidents(self, limit: Most = 50) -> Response:
        """The newest incidents."""
        return _json(sorted(self._known(self._read_model.incidents), key=lambda i: (-i.onset, i.id))[:limit])

    def get_incidents_one(self, identity: str) -> Response:
        """One incident as it stands."""
        return _json(self._incident(identity))

    def post_incidents_one_acknowledge(self, identity: str, note: Note, request: Request) -> Response:
        """Acknowledge an incident."""
        return self._answer(identity, ACKNOWLEDGED, note, request)

    def post_incidents_one_resolve(self, identity: str, note: Note, request: Request) -> Response:
        """Close an incident by hand."""
        return self._answer(identity, RESOLVED, note, request)

    def get_kill_switch(self) -> Response:
        """The kill switch, by the topic and by the file on this host."""
        self._known({})
        said = LocalSwitch(home()).said() or self._read_model.switch.killed
        return _json({"position": "on" if said else "off", "said": said})

    def post_kill_switch_on(self, note: Note, request: Request) -> Response:
        """Stop everything."""
        setting, ways = stop(_principal(request).name, note.reason, *of_this_host(home()))
        ways.append(tell_switch(lambda: self._read_model.broker, setting))
        _require_all(ways)
        return _json({"position": "on", "said": f"{setting.by}: {setting.reason}"})

    def post_kill_switch_off(self, note: Note, request: Request) -> Response:
        """Allow acting again."""
        ends = next(reversed(list(self._read_model.switch.stops)), "")
        self._tell(resume(_principal(request).name, note.reason, ends), "nothing was changed")
        removed = (way for switch in of_this_host(home()) for way in switch.turn_off("file"))
        _require_all([Way(SETTINGS.name), *removed])
        return _json({"position": "off", "said": ""})

    def get_maintenance(self) -> Response:
        """The scopes under maintenance, each with its end (ms)."""
        self._known({})
        return _json(self._read_model.maintained())

    def post_maintenance(self, maintenance: Maintenance, request: Request) -> Response:
        """Begin, prolong or end a maintenance."""
        who = _principal(request).name
        setting = maintain(maintenance.scope, maintenance.minutes, who, maintenance.reason)
        self._tell(setting)
        return _json({"scope": maintenance.scope, "until": int(setting.value)})

    def get_audit(self, limit: Most = 50) -> Response:
        """The last entries of the audit, in the order in which they were written."""
        self._reach()
        with self._one:
            return _json(audit_entries(self._read_model.broker, limit))

    # helpers

    def _known(self, kept: dict[str, Any]) -> list[Any]:
        if not self._read_model.ready.is_set():
            raise Problem(503, "behind", "what happened is still being read", "Ask again in a moment")
        return list(kept.copy().values())

    def _decision(self, identity: str) -> Decision:
        found: Decision = _one(identity, self._known(self._read_model.decisions))
        return found

    def _incident(self, identity: str) -> Incident:
        found: Incident = _one(identity, self._known(self._read_model.incidents))
        return found

    def _answer(self, identity: str, word: str, note: Note, request: Request) -> Response:
        setting = answered(self._incident(identity), word, _principal(request).name, note.reason)
        self._reach()
        return _heard(tell(self._read_model.broker, setting), setting)

    def _reach(self, done: str = "nothing was changed") -> None:
        if cause := probe(self._read_model.broker, 2.0):
            raise Problem(503, "no_broker", f"the broker does not answer ({cause}): {done}", "Try opsloop doctor")

    def _tell(self, said: Setting | Proposal, otherwise: str = "nothing was changed") -> None:
        self._reach(otherwise)
        publish(self._read_model.broker, said)


def _require_all(ways: list[Way]) -> None:
    """Raise Problem when one way of moving the kill switch failed; its text names the results of the others."""
    if not (failed := list(failures(ways))):
        return
    topic = next(way for way in ways if way.way == SETTINGS.name)
    host = "the actuators of this host have stopped" if any(w is not topic and not w.error for w in ways) else ""
    others = "others were not told" if topic.error else "the topic was told"
    code = "no_broker" if topic.error else "not_written"
    raise Problem(503, code, f"{'; '.join(failed)}: {', '.join(filter(None, (host, others)))}", "Try opsloop doctor")


def _principal(request: Request) -> Principal:
    who: Principal = request.state.who
    return who


def _signer(request: Request) -> str:
    """The caller, whose key is on this host. Raises Problem when it is not."""
    who = _principal(request).name
    if Keys(home()).entry(who) is None:  # tokens of an OIDC issuer may name people without a key here
        raise Problem(409, "no_key", f"{who} has no key on this host", "Make one: opsloop user add NAME")
    return who


def _one(identity: str, known: Iterable[Any]) -> Any:
    """The record whose id begins with `identity`. Raises Problem when there is none, or more than one."""
    found = [record for record in known if record.id.startswith(identity)]
    if len(found) != 1:
        what = "several ids begin" if found else "nothing has an id that begins"
        raise Problem(409 if found else 404, "unknown_id", f"{what} with {identity[:40]!r}")
    return found[0]


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _heard(said: Decision | Incident | Refusal | None, sent: Any) -> Response:
    """The answer to a message: its subject's new state, 409 with the reason, or 202 with what was sent."""
    if isinstance(said, Refusal):
        raise Problem(409, said.code, said.detail)
    return _json(said or sent, 200 if said else 202)


def _error(status: int, code: str, error: str, remedy: str = "") -> Response:
    response = _json({"error": error, "code": code, "remedy": remedy}, status)
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


async def _problem(_: Request, problem: Any) -> Response:
    return _error(problem.status, problem.code, problem.error, problem.remedy)


async def _cannot(_: Request, error: Any) -> Response:
    status = 503 if isinstance(error, DeliveryError) else 409
    return _error(status, "not_delivered" if status == 503 else "not_possible", error.message, error.remedy)


async def _invalid(_: Request, error: Any) -> Response:
    """Describe what is wrong with a request, without its values: one may be a password."""
    found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
    return _error(422, "invalid", "the request is not as it should be", found)


async def _plain(_: Request, error: Any) -> Response:
    response = _error(error.status_code, "refused", str(error.detail))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response
