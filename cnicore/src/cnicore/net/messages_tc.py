"""The messages of traffic control, as far as bandwidth speaks it: tbf, ingress, u32 with mirred.

pyroute2 has all of it in 38 modules, which take 12 ms to load, and does not know rates of 2^32
bytes per second and more (TCA_TBF_RATE64). These few classes take 1 ms; they stand on its base
classes, which are loaded anyway. Layouts: linux/pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h.
"""

from __future__ import annotations

from typing import Any

from cnicore.net.messages import bare_package

with bare_package("pyroute2"):
    from pyroute2.netlink import NLA_F_NESTED, nla, nlmsg

__all__ = ["tcmsg"]


class bucket_options(nla):  # type: ignore[misc]  # noqa: N801  (spelled as pyroute2's classes)
    """What TCA_OPTIONS holds for tbf."""

    nla_map = (
        ("TCA_TBF_UNSPEC", "none"),
        ("TCA_TBF_PARMS", "parms"),
        ("TCA_TBF_RTAB", "none"),
        ("TCA_TBF_PTAB", "none"),
        ("TCA_TBF_RATE64", "uint64"),
    )

    class parms(nla):  # type: ignore[misc]  # noqa: N801
        """struct tc_tbf_qopt; of both struct tc_ratespec in it only the rates matter."""

        fields = (
            ("rate_layer", "Q"),
            ("rate", "I"),
            ("peak_layer", "Q"),
            ("peak", "I"),
            ("limit", "I"),
            ("buffer", "I"),
            ("mtu", "I"),
        )


class mirred_options(nla):  # type: ignore[misc]  # noqa: N801
    """What TCA_ACT_OPTIONS holds for mirred."""

    nla_map = (
        ("TCA_MIRRED_UNSPEC", "none"),
        ("TCA_MIRRED_TM", "none"),
        ("TCA_MIRRED_PARMS", "parms"),
    )

    class parms(nla):  # type: ignore[misc]  # noqa: N801
        """struct tc_mirred."""

        fields = (
            ("index", "I"),
            ("capab", "I"),
            ("action", "i"),
            ("refcnt", "i"),
            ("bindcnt", "i"),
            ("eaction", "i"),
            ("ifindex", "I"),
        )


class u32_options(nla):  # type: ignore[misc]  # noqa: N801
    """What TCA_OPTIONS holds for u32: a selector with one key, and one action."""

    nla_map = (
        ("TCA_U32_UNSPEC", "none"),
        ("TCA_U32_CLASSID", "uint32"),
        ("TCA_U32_HASH", "uint32"),
        ("TCA_U32_LINK", "none"),
        ("TCA_U32_DIVISOR", "uint32"),
        ("TCA_U32_SEL", "selector"),
        ("TCA_U32_POLICE", "none"),
        ("TCA_U32_ACT", "actions"),
    )

    class selector(nla):  # type: ignore[misc]  # noqa: N801
        """struct tc_u32_sel and its first struct tc_u32_key."""

        fields = (
            ("flags", "B"),
            ("offshift", "B"),
            ("nkeys", "B"),
            ("padding", "B"),
            ("offmask", ">H"),
            ("off", "H"),
            ("offoff", "h"),
            ("hoff", "h"),
            ("hmask", ">I"),
            ("key_mask", ">I"),
            ("key_value", ">I"),
            ("key_off", "i"),
            ("key_offmask", "i"),
        )

    class actions(nla):  # type: ignore[misc]  # noqa: N801
        """Actions in the order that they are taken in; only the first is told here."""

        nla_map = (("TCA_ACT_UNSPEC", "none"), ("TCA_ACT_PRIO_1", "action"))

        class action(nla):  # type: ignore[misc]  # noqa: N801
            """A kind of action with its options."""

            nla_flags = NLA_F_NESTED
            nla_map = (
                ("TCA_ACT_UNSPEC", "none"),
                ("TCA_ACT_KIND", "asciiz"),
                ("TCA_ACT_OPTIONS", "options_of_kind"),
            )

            @staticmethod
            def options_of_kind(self: Any, *_: Any, **__: Any) -> Any:  # noqa: PLW0211  (pyroute2 passes the message)
                return mirred_options if self.get_attr("TCA_ACT_KIND") == "mirred" else self.hex


class tcmsg(nlmsg):  # type: ignore[misc]  # noqa: N801
    """struct tcmsg: a qdisc, or a filter (`info` is then its priority and protocol)."""

    fields = (
        ("family", "B"),
        ("pad1", "B"),
        ("pad2", "H"),
        ("index", "i"),
        ("handle", "I"),
        ("parent", "I"),
        ("info", "I"),
    )
    nla_map = (
        ("TCA_UNSPEC", "none"),
        ("TCA_KIND", "asciiz"),
        ("TCA_OPTIONS", "options_of_kind"),
    )

    @staticmethod
    def options_of_kind(self: Any, *_: Any, **__: Any) -> Any:  # noqa: PLW0211  (pyroute2 passes the message)
        known = {"tbf": bucket_options, "u32": u32_options}
        return known.get(self.get_attr("TCA_KIND"), self.hex)
