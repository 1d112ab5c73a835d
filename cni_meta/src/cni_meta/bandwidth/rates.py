"""How fast a container may receive and send: the keys, and what the kernel is told for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, WithJsonSchema

from cnicore.config import ConfModel, NetConf
from cnicore.errors import InvalidNetworkConfig
from cnicore.net.qdisc import LARGEST_U32, TokenBucket

LARGEST_U64 = 2**64 - 1
RUNTIME_PREFIX = "runtimeConfig.bandwidth."
BITS = 8  # of a byte; the configuration counts in bits, the kernel in bytes
MICROSECONDS = 1e6  # of a second
LATENCY = 25e3  # microseconds that a packet may wait

Bits = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": LARGEST_U64})]
"""A number of bits. Whether it is possible is looked at by `limits`, not on DEL and GC."""


class RatesConf(ConfModel):
    """The keys that limit rates. Which go together is looked at by `limits` too."""

    ingress_rate: Bits = Field(
        default=0, description="Bits per second towards the container; 0: unlimited."
    )
    ingress_burst: Bits = Field(
        default=0, description="Bits that may come at once, needed with ingressRate."
    )
    egress_rate: Bits = Field(
        default=0, description="Bits per second from the container; 0: unlimited."
    )
    egress_burst: Bits = Field(
        default=0, description="Bits that may go at once, needed with egressRate."
    )


class RuntimeConf(ConfModel):
    """What the runtime adds."""

    bandwidth: RatesConf = Field(
        default=RatesConf(), description="For the capability bandwidth: the same four keys."
    )


class BandwidthConf(NetConf, RatesConf):
    """If any of the four rates and bursts is there, be it 0, the runtime's are not looked at."""

    runtime_config: RuntimeConf = Field(
        default=RuntimeConf(), description="What the runtime adds for capabilities."
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate in bytes per second, and the bytes that may pass at once; `key` is its direction."""

    key: str
    rate: int
    burst: int

    def bucket(self, ticks: float) -> TokenBucket:
        """What the kernel is told, computed as the reference does, rounding included.

        `ticks` is how many the kernel's clock has in a microsecond. What does not fit into 32 bits
        becomes their largest number, as with the reference on arm64. On amd64 it keeps the low
        bits, which can be less than one packet needs.
        """
        return self._fitted(ticks, _largest)

    def largest_packet(self, ticks: float) -> int:
        """Bytes of the largest packet that the bucket holds; rounding costs some of the burst."""
        return int(self.bucket(ticks).buffer / ticks * self.rate / MICROSECONDS)

    def is_like(self, bucket: TokenBucket, ticks: float) -> bool:
        """Whether we, or the reference on whatever processor, would make this bucket."""
        return bucket in {self._fitted(ticks, fit) for fit in (_largest, _low_bits)}

    def _fitted(self, ticks: float, fit: Callable[[float], int]) -> TokenBucket:
        waiting = int(self.rate * LATENCY / MICROSECONDS)
        microseconds = fit(self.burst * MICROSECONDS / self.rate)
        return TokenBucket(self.rate, fit(waiting + self.burst), fit(microseconds * ticks))


@dataclass(frozen=True, slots=True)
class Limits:
    """Towards the container and from it; None where it is not limited."""

    ingress: Limit | None
    egress: Limit | None

    @property
    def are_set(self) -> bool:
        return bool(self.ingress or self.egress)


def limits(conf: BandwidthConf) -> Limits:
    """What the configuration, or else the runtime, asks for. Raises InvalidNetworkConfig."""
    of_runtime = conf.runtime_config.bandwidth
    wrong = [*_impossible(conf, ""), *_impossible(of_runtime, RUNTIME_PREFIX)]
    if wrong:
        raise InvalidNetworkConfig(wrong[0], "; ".join(wrong[1:]))
    is_static = bool(conf.model_fields_set & RatesConf.model_fields.keys())
    rates, prefix = (conf, "") if is_static else (of_runtime, RUNTIME_PREFIX)
    return Limits(
        _limit(f"{prefix}ingress", rates.ingress_rate, rates.ingress_burst),
        _limit(f"{prefix}egress", rates.egress_rate, rates.egress_burst),
    )


def limits_if_possible(conf: BandwidthConf) -> Limits:
    """For DEL, which nothing wrong may keep from cleaning up: no limits if they are impossible."""
    try:
        return limits(conf)
    except InvalidNetworkConfig:
        return Limits(None, None)


def _impossible(rates: RatesConf, prefix: str) -> Iterator[str]:
    """What is wrong with each number alone."""
    for name, field in RatesConf.model_fields.items():
        bits: int = getattr(rates, name)
        if bits < 0:
            yield f"{prefix}{field.alias}: input should be greater than or equal to 0"
        if bits > LARGEST_U64:
            yield f"{prefix}{field.alias}: input should be less than or equal to {LARGEST_U64}"


def _limit(key: str, rate: int, burst: int) -> Limit | None:
    if rate and not burst:
        raise InvalidNetworkConfig(
            f"{key}Burst is missing: if rate is set, burst must also be set (at least one packet)"
        )
    if burst and not rate:
        raise InvalidNetworkConfig(f"{key}Rate is missing: if burst is set, rate must also be set")
    if burst // BITS >= LARGEST_U32:
        raise InvalidNetworkConfig(
            f"{key}Burst: burst cannot be more than 4GB, {burst} bits are more"
        )
    for name, value in ((f"{key}Rate", rate), (f"{key}Burst", burst)):
        if 0 < value < BITS:
            raise InvalidNetworkConfig(f"{name}: {value} is less than a byte, use at least {BITS}")
    return Limit(key, rate // BITS, burst // BITS) if rate else None


def _largest(value: float) -> int:
    return min(int(value), LARGEST_U32)


def _low_bits(value: float) -> int:
    return int(value) & LARGEST_U32
