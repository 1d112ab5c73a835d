"""A macvlan's own attributes, with the one that pyroute2 does not know (linux/if_link.h)."""

from __future__ import annotations

from cnicore.net.messages import bare_package, ifinfmsg

with bare_package("pyroute2"):
    from pyroute2.netlink.rtnl.ifinfmsg import macvx_data


class MacvlanData(macvx_data):  # type: ignore[misc]  # pyroute2 is not read by mypy
    nla_map = (*macvx_data.nla_map, ("IFLA_MACVLAN_BC_QUEUE_LEN", "uint32"))


ifinfmsg.ifinfo.register_link_kind(module={"macvlan": MacvlanData})
