"""The CNI_* variables: which verb requires which, and what they must look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cnicore.errors import InvalidEnvironment
from cnicore.spec import require_container_id, require_ifname

ATTACHMENT_VERBS = frozenset({"ADD", "CHECK", "DEL"})

Check = Callable[[str], None]

# variable, verbs that require it, what it must look like
VARIABLES: tuple[tuple[str, frozenset[str], Check | None], ...] = (
    ("CNI_CONTAINERID", ATTACHMENT_VERBS, require_container_id),
    ("CNI_NETNS", frozenset({"ADD", "CHECK"}), None),
    ("CNI_IFNAME", ATTACHMENT_VERBS, require_ifname),
    ("CNI_PATH", ATTACHMENT_VERBS | {"GC", "STATUS"}, None),
)


def require_variables(environ: Mapping[str, str]) -> None:
    """Raise InvalidEnvironment for the first malformed variable, else for all that are missing."""
    verb = environ.get("CNI_COMMAND", "")
    missing = [] if verb else ["CNI_COMMAND"]
    for name, verbs, check in VARIABLES:
        value = environ.get(name, "")
        if verb in verbs and not value:
            missing.append(name)
        elif verb in verbs and check:
            check(value)
    if missing:
        raise InvalidEnvironment(f"required env variables [{','.join(missing)}] missing")
