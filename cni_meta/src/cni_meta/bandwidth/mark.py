"""Whose a link of the host is that bandwidth did not make.

Its alias tells. The plugin that made the link may have written the attachment's tag there; where it
wrote nothing, bandwidth leaves a mark, so that DEL and GC find the link without prevResult. The
mark is not the tag itself: what bears that may be deleted with the attachment.
"""

from __future__ import annotations

import errno

from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.netlink import tolerate
from cnicore.owner import PREFIX as TAG_PREFIX
from cnicore.owner import Owner
from cnicore.rollback import OnFailure

PREFIX = "bandwidth:"


def mark_of(owner: Owner) -> str:
    return f"{PREFIX}{owner.tag}"


def tag_of(link: Link) -> str:
    """The tag in the link's alias, if there is one."""
    return link.alias.removeprefix(PREFIX)


def is_of(link: Link, owner: Owner) -> bool:
    return tag_of(link) == owner.tag


def is_of_another(link: Link, owner: Owner) -> bool:
    return tag_of(link).startswith(TAG_PREFIX) and not is_of(link, owner)


def put(host: Namespace, link: Link, owner: Owner, on_failure: OnFailure) -> None:
    """Mark the link unless it has an alias, or is one end of a pair: that is found without."""
    mark = mark_of(owner)
    if not link.peer and link.alias in {"", mark}:
        host.set_alias(link.name, mark)
        on_failure(host.set_alias, link.name, "")


def take(host: Namespace, link: Link) -> None:
    """Remove the mark; absent, or gone with the link, is as wished."""
    if link.alias.startswith(PREFIX):
        with tolerate(errno.ENODEV):
            host.set_alias(link.name, "")
