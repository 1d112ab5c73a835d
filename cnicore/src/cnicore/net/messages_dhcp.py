"""DHCPv4 messages on pyroute2's classes, whose own loop over the options loses some.

It keeps only the last part of an option that was sent in parts, drops options that it has no name
for when it encodes, and takes what is cut off for the end. Header and single options are its work;
`dhcp4msg.options` is here a list of code and bytes in the order of the wire.
"""

from __future__ import annotations

from cnicore.net.messages import bare_package

with bare_package("pyroute2"):
    from pyroute2.dhcp.dhcp4msg import dhcp4msg as bootp_header
    from pyroute2.ext.bpf import BPF
    from pyroute2.ext.bpf import compile as compile_filter
    from pyroute2.protocols import msg

__all__ = ["BPF", "compile_filter", "dhcp4msg", "option_at"]

END = 255
LONGEST_PART = 255


class dhcp4msg(bootp_header):  # type: ignore[misc]  # noqa: N801  (spelled as pyroute2's classes)
    """A message whose options are bytes; `decode` reads the header alone."""

    def decode(self) -> dhcp4msg:
        """Raises ValueError if the header is cut off."""
        msg.decode(self)
        return self

    def encode(self) -> dhcp4msg:
        """Options that are longer than 255 bytes are written in parts (RFC 3396)."""
        msg.encode(self)
        for code, value in self["options"]:
            for start in range(0, len(value) or 1, LONGEST_PART):
                part = value[start : start + LONGEST_PART]
                self.buf += self.array8(code=code, value=part).encode().buf
        self.buf += self.none(code=END).encode().buf
        return self


def option_at(area: bytes, offset: int, code: int) -> bytes:
    """The bytes of the option that begins at the offset. Raises ValueError if it is cut off."""
    option = dhcp4msg.array8(buf=area, offset=offset, code=code).decode()
    return bytes(option.value)
