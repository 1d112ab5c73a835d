"""What the daemon tells the operator: a line for each event, with the attachment first."""

from __future__ import annotations

import logging

from cnicore.owner import Owner

LOGGER = logging.getLogger("cni.dhcp")


class Journal:
    """The lines about one attachment."""

    def __init__(self, owner: Owner) -> None:
        self._attachment = f"{owner.container_id}/{owner.network}/{owner.ifname}"

    def note(self, event: str) -> None:
        """Something went as it should."""
        LOGGER.info("%s: %s", self._attachment, event)

    def warn(self, event: str) -> None:
        """Something went wrong, and the daemon goes on."""
        LOGGER.warning("%s: %s", self._attachment, event)

    def report(self, event: str, error: BaseException) -> None:
        """An error that nobody foresaw: with where it was raised."""
        LOGGER.error("%s: %s", self._attachment, event, exc_info=error)
