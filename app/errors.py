"""Errors that a person can do something about."""

from __future__ import annotations


class UserError(Exception):
    """What went wrong and what to type next: shown in one or two lines, never as a traceback."""

    def __init__(self, message: str, remedy: str = "", *, exit_code: int = 2) -> None:
        super().__init__(f"{message}. {remedy}".strip() if remedy else message)
        self.message = message
        self.remedy = remedy
        self.exit_code = exit_code
