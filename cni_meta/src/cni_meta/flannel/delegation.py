"""The configuration that flannel gives to the plugin that does the work."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from cni_meta.flannel.subnet import Subnet
from cnicore.config import NetConf
from cnicore.documents import Document, fold_keys, kind_of
from cnicore.errors import InvalidNetworkConfig
from cnicore.request import Request

SET_BY_FLANNEL = ("name", "ipam")


class FlannelConf(NetConf):
    subnet_file: str = Field(
        default="/run/flannel/subnet.env", description="What flanneld writes about this node."
    )
    data_dir: str = Field(
        default="/var/lib/cni/flannel",
        description="Where the configurations of the delegate are kept until DEL.",
    )
    delegate: dict[str, Any] = Field(
        default={},
        description="Keys of the plugin that does the work; its `type` is bridge if there is none.",
    )
    runtime_config: dict[str, Any] | None = Field(
        default=None, description="What the runtime passes; the delegate gets it."
    )


def require_paths(conf: FlannelConf) -> None:
    for key, path in (("subnetFile", conf.subnet_file), ("dataDir", conf.data_dir)):
        if not path:
            raise InvalidNetworkConfig(f"{key} is empty: write a path, or leave the key out")


def compose(request: Request, conf: FlannelConf, subnet: Subnet) -> Document:
    """The delegate's configuration; what `delegate` says itself is left as it is.

    Raises InvalidNetworkConfig.
    """
    delegate = dict(conf.delegate)
    require_sound(delegate)
    if conf.runtime_config is not None:
        delegate["runtimeConfig"] = conf.runtime_config
    delegate["name"] = request.network
    delegate.setdefault("type", "bridge")
    delegate.setdefault("ipMasq", not subnet.ip_masq)  # once is enough: flanneld does it or not
    delegate.setdefault("mtu", subnet.mtu)
    if delegate["type"] == "bridge":
        delegate.setdefault("isGateway", True)
    if request.document.get("cniVersion"):
        delegate["cniVersion"] = request.cni_version
    return {**delegate, "ipam": compose_ipam(request, subnet)}


def require_sound(delegate: Document) -> None:
    for key in SET_BY_FLANNEL:
        if key in delegate:
            raise InvalidNetworkConfig(
                f"delegate.{key}: 'delegate' dictionary must not have '{key}' field, it'll be set"
                f" by flannel: remove it{', flannel has ipam of its own' if key == 'ipam' else ''}"
            )
    if not isinstance(delegate.get("type", ""), str):
        raise InvalidNetworkConfig(
            "delegate.type: 'delegate' dictionary, if present, must have (string) 'type' field,"
            f" not {kind_of(delegate['type'])}"
        )
    if delegate.get("type") == "":
        raise InvalidNetworkConfig(
            "delegate.type is empty: name a plugin, or leave the key out for bridge"
        )


def compose_ipam(request: Request, subnet: Subnet) -> Document:
    """The configured section with this node's subnets, and with routes to the whole cluster."""
    ipam: Document = dict(fold_keys(request.document, ["ipam"]).get("ipam", {}))
    routes = ipam.get("routes")
    routes = [] if routes is None else routes
    if not isinstance(routes, list):
        raise InvalidNetworkConfig(f"ipam.routes: must be a list, not {kind_of(routes)}")
    ipam.setdefault("type", "host-local")
    ipam["ranges"] = [[{"subnet": str(network)}] for network in subnet.subnets]
    ipam["routes"] = [*routes, *({"dst": str(network)} for network in subnet.networks)]
    return ipam
