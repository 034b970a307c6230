"""Evaluates Rego in this process with Microsoft's rego-cpp (regopy)."""

from __future__ import annotations

import atexit
import weakref
from typing import Any, Final

from regopy import Interpreter, LogLevel, set_default_log_level

from models.policy.base import Compiled, PolicyFault

set_default_log_level("None")  # otherwise it prints to stderr; exceptions carry the errors

_OPEN: Final[weakref.WeakSet[Module]] = weakref.WeakSet()


class Module:
    """One policy module in its own interpreter, so that policies are isolated from each other."""

    def __init__(self, source: str, package: str) -> None:
        self._rego = Interpreter()
        self._rego.log_level = LogLevel.NONE
        self._rego.strict_built_in_errors = True  # else an error in a built-in is undefined, and a denial never fires
        try:
            self._rego.add_module(f"{package}.rego", source)
            self._bundle = self._rego.build(f"data.{package}")
            sound = self._bundle.ok()
        except Exception as error:  # regopy raises RegoError, and other types when it fails to parse the failure
            raise PolicyFault("invalid", _brief(error)) from None
        _OPEN.add(self)
        if not sound:
            raise PolicyFault("invalid", "it does not compile")

    def evaluate(self, facts: dict[str, Any]) -> Any:
        """Evaluate the package for an input document. Returns its document. Raises PolicyFault."""
        try:
            self._rego.set_input(facts)
            output = self._rego.query_bundle(self._bundle)
            expressions = output.results[0].expressions if output.ok() and output.results else None
        except Exception as error:  # as above
            raise PolicyFault("error", _brief(error)) from None
        if expressions is None:
            raise PolicyFault("error", "the evaluation failed")
        if not expressions:
            raise PolicyFault("undefined", "there is no answer")
        return expressions[0]

    def close(self) -> None:
        """Free the native memory."""
        del self._bundle, self._rego


@atexit.register
def _close_all() -> None:
    """Close all modules before exit: regopy frees memory through module globals, which are gone at interpreter exit."""
    for module in list(_OPEN):
        module.close()


class Rego:
    """Evaluator in this process. See `models.policy.base.Evaluator`."""

    def compile(self, source: str, package: str) -> Compiled:
        """Compile a module for queries of the document of its package. Raises PolicyFault."""
        return Module(source, package)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
