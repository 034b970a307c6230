"""Bodies of requests to the HTTP interface: all fields with their bounds. Other fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Annotated[str, Field(max_length=500, description="Why; it is kept")]
Target = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")]
Name = Annotated[str, Field(min_length=1, max_length=100)]

Scope = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._*?-]+(/[A-Za-z0-9._*?-]+)*$")]


class Body(BaseModel):
    """The JSON body of a request."""

    model_config = ConfigDict(extra="forbid")


class Login(Body):
    """A name and a password, for a token."""

    name: Name
    password: Annotated[str, Field(min_length=1, max_length=200)]


class Vote(Body):
    """A vote on a decision."""

    vote: Literal["approve", "reject"]
    reason: Reason = ""


class Note(Body):
    """The reason for a request."""

    reason: Reason = ""


class Maintenance(Body):
    """Maintenance of a scope: nothing in it is changed for so many minutes; 0 ends it."""

    scope: Scope
    minutes: Annotated[int, Field(ge=0, le=100_000)]
    reason: Reason = ""


class ProposalBody(Body):
    """A proposal: the action, its target and its parameters."""

    action: Name
    target: Target
    parameters: Annotated[dict[Name, Annotated[str, Field(max_length=200)]], Field(max_length=20)] = {}
    reason: Reason = ""
    expects: Annotated[str, Field(max_length=200, description="A metric that is to be ordinary again, or a glob")] = ""
    request: Annotated[str, Field(max_length=100, description="A name: asking twice under it is one proposal")] = ""
