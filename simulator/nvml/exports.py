"""Exports: the table of C functions of the fake library, and how their arguments are passed.

The call modules register their functions here; library turns each into a C function pointer. A real library is
called by pynvml without declared argument types, and misuse corrupts memory; the parameter kinds below pass what is
passed rightly the same way, and turn the known misuses into what can be seen: a truncated handle, a TypeError.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = Callable[..., None]


class Handle:
    """An opaque pointer. A bare int is cut to 32 bits, as ctypes passes one without declared types."""

    ctype = ctypes.c_void_p

    @classmethod
    def from_param(cls, value: object) -> Any:
        """What ctypes passes on."""
        return ctypes.c_void_p(value & 0xFFFFFFFF) if isinstance(value, int) else value


class Ref:
    """A pointer to something of the caller's. A struct by value would be read as an address: refused."""

    ctype = ctypes.c_void_p

    @classmethod
    def from_param(cls, value: object) -> Any:
        """What ctypes passes on. Raises TypeError for what is not a pointer."""
        if isinstance(value, ctypes.Structure) or (
            isinstance(value, ctypes._SimpleCData) and not isinstance(value, ctypes.c_char_p)
        ):
            raise TypeError(f"{value!r} is passed by value; a real library would take it for an address")
        return value


class Number:
    """An unsigned int, as an int or any ctypes integer."""

    ctype = ctypes.c_uint

    @classmethod
    def from_param(cls, value: Any) -> Any:
        """What ctypes passes on."""
        return ctypes.c_uint(getattr(value, "value", value))


class Wide:
    """An unsigned long long."""

    ctype = ctypes.c_ulonglong

    @classmethod
    def from_param(cls, value: Any) -> Any:
        """What ctypes passes on."""
        return ctypes.c_ulonglong(getattr(value, "value", value))


Parameter = type[Handle] | type[Ref] | type[Number] | type[Wide]


@dataclass(frozen=True, slots=True)
class Export:
    """One C function: its name, the kinds of its parameters, and what it does.

    `body(session, *arguments)` gets handles and pointers as addresses (None for NULL); it returns for success and
    raises DeviceError for any other code.
    """

    name: str
    parameters: tuple[Parameter, ...]
    body: Body
    needs_init: bool = True


EXPORTS: dict[str, Export] = {}


def export(*names: str, parameters: tuple[Parameter, ...], needs_init: bool = True) -> Callable[[Body], Body]:
    """Register a function of the library under its C names."""

    def register(body: Body) -> Body:
        for name in names:
            EXPORTS[name] = Export(name, parameters, body, needs_init)
        return body

    return register


def pointer(entry: Export, run: Callable[[Export, tuple[Any, ...]], int]) -> Any:
    """The C function pointer of an export, which is carried out by `run`."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *(kind.ctype for kind in entry.parameters))
    function = prototype(lambda *arguments: run(entry, arguments))
    function.argtypes = entry.parameters  # type: ignore[assignment]
    return function
