"""Host names, patterns and addresses in one spelling each. Pure: nothing is looked up here."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_METADATA = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "169.254.169.254", "192.0.0.192", "fd00:ec2::254"))
)
"""Where clouds hand out credentials; 168.63.129.16 is a public address by its number."""
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_TEREDO, _SIX_TO_FOUR, _COMPATIBLE = ip_network("2001::/32"), ip_network("2002::/16"), ip_network("::/96")


@dataclass(frozen=True, slots=True)
class Host:
    """What a client asked for, in its one spelling; `address` is set where that is a literal."""

    name: str
    address: Address | None = None


def read_host(text: str) -> Host:
    """The host of a request. Raises `ValueError` with the reason in words.

    Case, one final dot and the brackets of an IPv6 literal do not matter; an IPv4 address that is mapped into IPv6 is
    that IPv4 address. Any other spelling of an address (decimal, octal, hexadecimal, short) is refused, not read.
    """
    if not text.isascii():
        check_name(text)
    bracketed = text.startswith("[") and text.endswith("]")
    bare = text[1:-1] if bracketed else text.removesuffix(".").lower()
    if bracketed or ":" in bare:
        return _six(bare)
    check_name(bare)
    if _ends_in_a_number(bare):
        address = _address(bare)
        return Host(str(address), address)
    return Host(bare)


def check_name(name: str) -> None:
    """Raise `ValueError` unless this is a DNS name in lower-case ASCII without a final dot."""
    if not name.isascii():
        raise ValueError(f"{_shown(name)} is not ASCII; {_in_ascii(name)}")
    if not name or len(name) > 253 or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{_shown(name)} is not a host name in lower case")


def check_pattern(pattern: str) -> str:
    """The pattern itself if it is written in the one way there is. Raises `ValueError`.

    `api.example.com`, `*.example.com` (every name below, not example.com itself), `*` (every name), or a literal
    address. No pattern with a star ever matches a literal address.
    """
    if pattern == "*":
        return pattern
    if pattern.endswith("."):
        raise ValueError(f"{_shown(pattern)} ends in a dot; leave it out")
    suffix = pattern.removeprefix("*.")
    if "*" in suffix:
        raise ValueError(f"{_shown(pattern)} has a star elsewhere than as its whole first label")
    if ":" in suffix or _ends_in_a_number(suffix):
        literal = str(_six(suffix).name if ":" in suffix else _address(suffix))
        if pattern != literal:
            raise ValueError(f"{_shown(pattern)} is not how this address is written; write {literal}")
        return pattern
    check_name(suffix)
    return pattern


def check_grant(pattern: str) -> str:
    """As `check_pattern`; a star needs two labels behind it, since `*.com` is everybody. Raises `ValueError`."""
    check_pattern(pattern)
    if pattern.startswith("*.") and pattern.count(".") < 2:
        raise ValueError(f"{pattern} grants a whole top-level domain; name the domain, or write * for every name")
    return pattern


def covers(pattern: str, other: str) -> bool:
    """Whether all that `other` (a pattern or the name of a `Host`) stands for is matched by `pattern`."""
    if pattern == other:
        return True
    if pattern == "*":
        return ":" not in other and not _ends_in_a_number(other)
    return pattern.startswith("*.") and other.endswith(pattern[1:])


def meet(left: str, right: str) -> str | None:
    """The pattern of what both match. There is always one or none: patterns are nested or apart."""
    if covers(left, right):
        return right
    return left if covers(right, left) else None


def embedded(address: Address) -> tuple[Address, ...]:
    """The address and each IPv4 address that a translator or tunnel would make of it."""
    if isinstance(address, IPv4Address):
        return (address,)
    found: list[Address] = [address]
    if address.ipv4_mapped:
        found.append(address.ipv4_mapped)
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    if address in _SIX_TO_FOUR and address.sixtofour:
        found.append(address.sixtofour)
    if address in _TEREDO and address.teredo:
        found.extend(address.teredo)
    return tuple(found)


def special(address: Address) -> str | None:
    """Why nothing on the public internet has this address, in a word; None for one that is public."""
    for one in embedded(address):
        if one in _METADATA:
            return "cloud metadata"
        if one.is_loopback:
            return "loopback"
        if one.is_link_local:
            return "link-local"
        if one.is_multicast:
            return "multicast"
        if one.is_unspecified or not one.is_global:
            return "not public"
    return None


def _six(text: str) -> Host:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is neither a host name nor an IPv6 address without brackets") from None
    if address.scope_id is not None:
        raise ValueError(f"{_shown(text)} names a network interface")
    plain = address.ipv4_mapped or address
    return Host(str(plain), plain)


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an address in dotted decimal") from None


def _ends_in_a_number(name: str) -> bool:
    """What a resolver may take for an IPv4 address in one of its old spellings (WHATWG URL, "ends in a number")."""
    last = name.rpartition(".")[2]
    return last.isdigit() or bool(re.fullmatch(r"0x[0-9a-f]*", last))


def _shown(text: str) -> str:
    return ascii(text[:80])


def _in_ascii(name: str) -> str:
    try:
        return f"its name in DNS is {name.encode('idna').decode('ascii')[:253]}"
    except UnicodeError:
        return "and it has no name in DNS"
