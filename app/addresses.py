"""Which network addresses this service may call on a client's word: public ones, and what the operator allows."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class AddressRefused(ValueError):
    """The host is, or resolves to, an address that is neither public nor in the operator's `private_networks`."""


def resolve(host: str) -> tuple[Address, ...]:
    """Every address of a host, as the resolver reads it: `2130706433`, `0x7f.1` and `127.1` are 127.0.0.1.

    Empty when the name does not resolve here; whoever connects later resolves, checks and pins again.
    """
    if host.rstrip(".").lower().rpartition(".")[2] == "localhost":  # RFC 6761, whatever the resolver says
        return (IPv4Address("127.0.0.1"),)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def require_allowed(host: str, addresses: Iterable[Address], *, private_networks: Sequence[Network]) -> None:
    """Raises AddressRefused at the first address that must not be called."""
    for address in addresses:
        plain = _embedded(address)
        if _is_public(plain) or any(plain in network for network in private_networks):
            continue
        raise AddressRefused(
            f"{host!r} is the address {plain}, which is not public: use a public address, "
            "or have the operator add its network to RLAIF_PRIVATE_NETWORKS"
        )


def is_plain(url: str) -> bool:
    """Whether what is sent there can be read on the way."""
    return urlsplit(url).scheme == "http"


def require_private(host: str, addresses: Iterable[Address], *, private_networks: Sequence[Network]) -> None:
    """Raises AddressRefused at the first address outside the operator's own networks: plain text may not go there."""
    for address in addresses:
        if not any(_embedded(address) in network for network in private_networks):
            raise AddressRefused(
                f"a secret would travel to {host!r} in plain text: use https, or have the operator add the network of "
                f"{address} to RLAIF_PRIVATE_NETWORKS if it is its own"
            )


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast


def _embedded(address: Address) -> Address:
    """The IPv4 address inside a mapped, NAT64, 6to4 or Teredo address: that is where the packets go."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


_NAT64 = IPv6Network("64:ff9b::/96")
