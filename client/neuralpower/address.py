"""Where a daemon is, for who names one: what cannot be is one clear line."""

from __future__ import annotations

from neuralpower_wire import WireError
from neuralpower_wire.address import DEFAULT, Address, AddressLike

from .errors import InputError

__all__ = ["DEFAULT", "Address", "AddressLike", "nobody", "parse", "parse_local"]


def parse(text: AddressLike) -> Address:
    """The address behind `ipc:///run/neuralpower`, the path of that folder, or `tcp://host:port`; InputError where it is none."""
    try:
        return Address.parse(text)
    except WireError as error:
        raise InputError(str(error)) from None


def parse_local(text: AddressLike) -> Address:
    """As :func:`parse`, for what must run on the device itself: InputError for a remote address too."""
    address = parse(text)
    if not address.local:
        raise InputError(f"{address}: the profiler must run on the device itself; give the daemon's directory")
    return address


def nobody(address: Address) -> str:
    """What to say while no daemon answers."""
    question = "is neuralpowerd running" + ("" if address.local else ", and has it allowed this client's key")
    return f"no daemon at {address}: {question}?"
