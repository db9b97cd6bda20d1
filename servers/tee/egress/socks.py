"""SOCKS5 (RFC 1928) as far as a sandbox needs it: no authentication, CONNECT by name or by address."""

import asyncio
from ipaddress import IPv4Address, IPv6Address

from servers.tee.egress import Refused

SUCCEEDED, NOT_ALLOWED, UNREACHABLE, NO_COMMAND = 0, 2, 4, 7
_NO_AUTHENTICATION, _CONNECT, _IPV4 = 0, 1, 1


def reply(code: int) -> bytes:
    """The server's answer to a request."""
    return bytes((5, code, 0, _IPV4, 0, 0, 0, 0, 0, 0))


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
    """Host and port, after the version byte was read. Raises `Refused`, `IncompleteReadError`."""
    methods = await reader.readexactly((await reader.readexactly(1))[0])
    if _NO_AUTHENTICATION not in methods:
        writer.write(b"\x05\xff")
        raise Refused("socks", "the program wants to authenticate; there is nothing to authenticate to")
    writer.write(b"\x05\x00")
    version, command, _, kind = await reader.readexactly(4)
    match kind:
        case 1:
            host = str(IPv4Address(await reader.readexactly(4)))
        case 4:
            host = str(IPv6Address(await reader.readexactly(16)))
        case 3:
            name = await reader.readexactly((await reader.readexactly(1))[0])
            host = name.decode("latin-1")
        case _:
            raise Refused("socks", "an unknown kind of address")
    port = int.from_bytes(await reader.readexactly(2))
    if (version, command) != (5, _CONNECT):
        writer.write(reply(NO_COMMAND))
        raise Refused("socks", "only CONNECT is served")
    return host, port
