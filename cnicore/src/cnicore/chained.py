"""What a plugin needs that refines what others of its chain have made."""

from __future__ import annotations

from cnicore.errors import InvalidNetworkConfig
from cnicore.request import Request
from cnicore.result import Result


def result_so_far(request: Request) -> Result:
    """The result of the plugins before this one. Raises InvalidNetworkConfig if there is none."""
    result = request.prev_result
    if result is None:
        plugin_type = request.document.get("type", "this plugin")
        raise InvalidNetworkConfig(
            f"Required prevResult missing: {plugin_type} must be called as chained plugin,"
            " put it after the plugin that makes the interface"
        )
    return result
