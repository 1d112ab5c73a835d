"""What the daemon does for each verb, by those who keep the leases."""

from __future__ import annotations

import asyncio
from functools import partial

from cni_ipam.dhcp import marks
from cni_ipam.dhcp.conf import wish_of
from cni_ipam.dhcp.conversation import Done
from cni_ipam.dhcp.keepers import Keepers
from cni_ipam.dhcp.outcome import result
from cni_ipam.dhcp.terms import Place
from cnicore.attempts import attempt_all
from cnicore.errors import CniError, DecodingFailure, system_errors
from cnicore.net.switch import open_netns
from cnicore.request import Request
from cnicore.result import Result

RELEASE_SECONDS = 5.0
SLACK = 5.0  # beside the waiting for servers


class Service:
    """Answers the requests of clients."""

    def __init__(
        self, keepers: Keepers, directory: str, *, add_seconds: float, hostprefix: str = ""
    ) -> None:
        self._keepers = keepers
        self._directory = directory
        self._add_seconds = add_seconds
        self._hostprefix = hostprefix

    def seconds(self, request: Request) -> float:
        """How long an answer may take."""
        if request.verb == "ADD":
            return self._add_seconds + SLACK
        return RELEASE_SECONDS + SLACK if request.verb in {"DEL", "GC"} else SLACK

    async def answer(self, request: Request, netns: int | None) -> Done:
        """Do what is asked. Raises CniError. Cancelled it leaves nothing."""
        if request.verb == "ADD":
            return await self._add(request, netns)
        if request.verb == "DEL":
            await self._keepers.end(request.owner)
        elif request.verb == "CHECK":
            self._check(request)
        elif request.verb == "GC":
            await self._end_others(request)
        return Done()

    async def _add(self, request: Request, netns: int | None) -> Done:
        wish = wish_of(request)
        is_new = self._keepers.get(request.owner) is None
        place = Place(self._path(request), 0, 0, request.ifname)
        handle = self._open(request, netns)  # becomes that of the keepers
        holding = await self._keepers.add(request.owner, place, handle, wish)
        undo = partial(self._keepers.end, request.owner) if is_new else None
        return Done(result(holding), undo)

    def _open(self, request: Request, netns: int | None) -> int:
        """The namespace that the client passed, else the one at its path. Raises InvalidNetns."""
        passed = f"/proc/thread-self/fd/{netns}"
        return open_netns(self._path(request) if netns is None else passed)

    def _path(self, request: Request) -> str:
        return self._hostprefix + request.netns

    def _check(self, request: Request) -> None:
        """From memory, at once. Raises CniError."""
        owner = request.owner
        keeper = self._keepers.get(owner)
        if keeper is None:
            raise CniError(
                f"the DHCP daemon has no lease for {owner.ifname} of container"
                f" {owner.container_id} in the network {owner.network}: attach it again"
            )
        keeper.check()
        previous = request.prev_result
        if previous:
            require_addresses(previous, result(keeper.holding))

    async def _end_others(self, request: Request) -> None:
        valid = request.valid_attachments
        if valid is None:
            raise DecodingFailure("GC: the configuration has no list of valid attachments")
        with system_errors(f"list the directory {self._directory} (-leasedir)"):
            recorded = marks.recorded(self._directory, request.network)
        ends = [self._keepers.end(owner) for owner in recorded if owner not in valid]
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
        with attempt_all() as attempt:
            for outcome in outcomes:
                attempt(raise_failure, outcome)


def raise_failure(outcome: BaseException | None) -> None:
    if outcome:
        raise outcome


def require_addresses(previous: Result, leased: Result) -> None:
    """Raise CniError unless what is leased is in the result of the ADD."""
    reported = {ip.address.ip for ip in previous.ips}
    for ip in leased.ips:
        if ip.address.ip not in reported:
            raise CniError(
                f"the lease is of {ip.address} now, and prevResult does not have that address:"
                " attach the container again"
            )
