"""What may be sent to the HTTP interface: every field with its bounds, and no other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Annotated[str, Field(max_length=500, description="Why; it is kept")]
Target = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Body(BaseModel):
    """The JSON of a request."""

    model_config = ConfigDict(extra="forbid")


class Login(Body):
    """Who wants a token."""

    name: Name
    password: Annotated[str, Field(min_length=1, max_length=200)]


class Vote(Body):
    """Yes or no to a decision."""

    vote: Literal["approve", "reject"]
    reason: Reason = ""


class Note(Body):
    """Why somebody does something."""

    reason: Reason = ""


class Maintenance(Body):
    """Nothing is changed within a scope for so long; 0 minutes end it."""

    scope: Target
    minutes: Annotated[int, Field(ge=0, le=100_000)]
    reason: Reason = ""


class ProposalBody(Body):
    """What is to be done."""

    action: Name
    target: Target
    parameters: Annotated[dict[Name, Annotated[str, Field(max_length=200)]], Field(max_length=20)] = {}
    reason: Reason = ""
    expects: Annotated[str, Field(max_length=200, description="A metric that is to be ordinary again, or a glob")] = ""
    request: Annotated[str, Field(max_length=100, description="A name: asking twice under it is one proposal")] = ""
