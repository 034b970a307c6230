"""The compiler as a decorator: a kernel is a plain loop that gives the same numbers without it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Final, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

# a mask that changes no index there is, but lets the compiler know that it is not counted from the end
PLACE: Final = (1 << 40) - 1

SOURCES: Final = {file.name: file.read_bytes() for file in files(__package__).iterdir() if file.name.endswith(".py")}
STAMP: Final = hashlib.blake2b(b"".join(SOURCES[name] for name in sorted(SOURCES)), digest_size=16).hexdigest()


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` at its first call and keep the result beside its file, or in the user's cache.

    No fast-math: a sum is taken in the order that is written, so that scores are equal bit for bit however a stream
    is cut, and with or without the compiler. `NUMBA_DISABLE_JIT=1` runs the plain function.

    A kernel works in arrays that it is given, and makes none: so the compiler need not count who holds them (`_nrt`),
    which was a fifth of the bank's time.
    """
    return _compiled(function, False)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """A piece of a kernel, compiled in the place of each of its calls.

    A call hands over every field of every array and tuple, two hundred numbers for some of these, which costs more than
    the work that they are called for.
    """
    return _compiled(function, True)


def _compiled(function: Callable[P, R], inline: bool) -> Callable[P, R]:
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=inline)(function)
    if kept := getattr(compiled, "_cache", None):  # it minds its own file alone, but has in it what it calls
        kept._cache_file._source_stamp = STAMP
    return cast("Callable[P, R]", compiled)
