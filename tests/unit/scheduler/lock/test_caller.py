"""The caller's name on its way from the lock to the API's routes."""

import pytest
from starlette.types import Message, Scope

from scheduler.lock import caller
from scheduler.lock.caller import NamedByGateway


def scope(**more: object) -> Scope:
    """A request from an address."""
    return {"type": "http", "client": ("10.0.0.1", 1), "headers": [], **more}


async def passed_on(name: str) -> str:
    """The name that the service sees of a caller whom the gateway knows by this one."""
    at_gateway = scope()
    caller.put(at_gateway, name)
    header = (caller.HEADER.lower().encode(), caller.encoded(at_gateway).encode("ascii"))
    seen: list[str] = []

    async def application(inner: Scope, receive: object, send: object) -> None:
        seen.append(caller.of(inner))

    async def nothing() -> Message:
        return {}

    async def nowhere(_: Message) -> None:
        return

    await NamedByGateway(application)(scope(headers=[header], client=None), nothing, nowhere)
    return seen[0]


async def test_names_of_every_kind_arrive_apart() -> None:
    """Whatever a user is called, and however long, the name arrives as one header and stays another than others."""
    plain = ["user system:serviceaccount:apps:reader", "address 10.0.0.1", "address fd00::1"]
    odd = ["user a\r\nX-Evil: b", "user \x00", "user ä", "user \ud800", "user " + "x" * 100_000, "user " + "x" * 99_999]
    arrived = [await passed_on(name) for name in (*plain, *odd)]
    assert len(set(arrived)) == len(arrived)
    assert all(name.isascii() and name.isprintable() and len(name) < 2000 for name in arrived)


@pytest.mark.parametrize(("client", "name"), [(("10.0.0.1", 1), "10.0.0.1"), (None, "")], ids=str)
def test_without_a_lock_the_address_is_the_caller(client: object, name: str) -> None:
    """Where nobody has said who calls, the address counts, and of none the empty name."""
    assert caller.of(scope(client=client)) == name
