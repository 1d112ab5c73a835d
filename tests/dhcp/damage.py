"""Packets with some bytes changed; the changes are drawn first, as how often a client asks is chance."""

from __future__ import annotations

from itertools import cycle

from hypothesis import strategies as st

CHANGE = st.tuples(st.integers(0, 999), st.binary(max_size=3))
CHANGES = st.lists(st.lists(CHANGE, min_size=1, max_size=4), min_size=1, max_size=9)


def damaging(changes, encode):
    """What makes the bytes of a message, the next ones of the changes made to it."""
    turns = cycle(changes)

    def damage(message):
        packet = bytearray(encode(message))
        for where, instead in next(turns):
            position = where % len(packet)
            packet[position : position + 1] = instead
        return bytes(packet)

    return damage
