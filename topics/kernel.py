"""The compiler as a decorator: a kernel is a plain loop that gives the same numbers without it."""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any, Final, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import IndexDataCacheFile

P = ParamSpec("P")
R = TypeVar("R")

# a mask that changes no index there is, but lets the compiler know that it is not counted from the end
PLACE: Final = (1 << 40) - 1


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
    made = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=inline)(function)
    if kept := getattr(made, "_cache", None):
        kept._cache_file.__class__ = _CacheFile
        kept._cache_file.function = function
    return cast("Callable[P, R]", made)


class _CacheFile(IndexDataCacheFile):  # type: ignore[misc]
    """What was compiled counts while its stamp is the same: the compiler minds changes of the kernel's own file alone.

    The stamp is taken at the first call, when everything that the kernel calls is defined.
    """

    function: Callable[..., Any]

    @property
    def _source_stamp(self) -> str:
        return stamp(self.function)

    def _load_index(self) -> dict[Any, Any]:
        try:
            return cast("dict[Any, Any]", super()._load_index())
        except Exception:  # of another version of this program: it names what is not there any more
            return {}


def stamp(function: Callable[..., Any]) -> str:
    """A digest of all that is compiled into a kernel: its code, the constants that it names, the kernels it calls."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in _pieces(function):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(function: Callable[..., Any]) -> Iterator[bytes]:
    function = getattr(function, "py_func", function)
    yield from _code(function.__code__)
    for annotation in function.__annotations__.values():  # fields of a tuple are compiled as their places in it
        taken = function.__globals__.get(annotation) if isinstance(annotation, str) else annotation
        yield repr(getattr(taken, "_fields", ())).encode()
    for name in sorted(_globals(function.__code__)):
        if name in function.__globals__:
            yield name.encode()
            yield from _value(function.__globals__[name])


def _code(code: CodeType) -> Iterator[bytes]:
    yield from (code.co_code, repr(code.co_names).encode(), repr(code.co_varnames).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield repr(constant).encode()


def _globals(code: CodeType) -> set[str]:
    named = {str(each.argval) for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    return named.union(*(_globals(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _value(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield value.tobytes()
    elif isinstance(value, ModuleType | type):
        yield f"{value.__name__} {getattr(value, '_fields', '')}".encode()
    elif hasattr(value, "__code__") or hasattr(value, "py_func"):
        yield from _pieces(value)
    else:
        yield repr(value).encode()
