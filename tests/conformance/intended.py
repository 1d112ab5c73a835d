"""The table of intended differences from the reference."""

from __future__ import annotations

from conformance.intended_entry import Intended
from conformance.intended_host_device import HOST_DEVICE
from conformance.intended_macvlan import MACVLAN

FAILED_BRIDGES = (
    "bridge two gateways of one family",
    "bridge conflicting address",
    "bridge overlapping ipv6 address",
    "bridge 0.2.0 l2",
    "bridge unknown ipam",
    "bridge ipam outside",
    "bridge no addresses",
)
"""The reference gets as far as the interface pair."""

REFUSED_BRIDGES = (
    "bridge bad mac",
    "bridge interface exists",
    "bridge no netns",
    "bridge netns is a file",
)
"""The reference gets as far as the bridge."""

VETH = "<veth of c1/*>"

ERRORS = (
    Intended(
        "A configuration that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999 for nearly everything.",
        (
            "bridge * text",
            "bridge mtu fraction",
            "bridge name *",
            "bridge vlan *",
            "bridge bad mac",
            "bridge hairpin and promiscuous",
            "bridge no addresses",
            "bridge that is none",
            "ptp without ipam",
            "ptp without a gateway",
            "ptp mtu text",
            "ptp ipam is a list",
            "host-local no *",
            "host-local bad subnet",
            "host-local subnet too small",
            "host-local host bits",
            "host-local range outside",
            "host-local sets overlap",
            "host-local families mixed",
            "host-local 0.2.0 two of one family",
            "host-local ranges is no list",
            "static no mask",
            "static two of one family in 0.2.0",
            "portmap * port *",
            "portmap protocol unknown",
            "portmap hostIP a name",
            "portmap mark bit *",
            "portmap external chain missing",
            "portmap runtimeConfig a list",
            "portmap alone",
            "bandwidth rate *",
            "bandwidth burst *",
            "bandwidth negative",
            "bandwidth too large a number",
            "bandwidth text",
            "bandwidth fraction",
            "bandwidth list",
            "bandwidth alone",
            "bandwidth behind a tap",
            "sbr alone",
            "sbr no addresses",
            "firewall unknown policy",
            "firewall backend number",
            "firewall alone*",
            "firewall policy without an interface",
            "tuning bad mac",
            "tuning runtime mac",
            "tuning negative mtu",
            "tuning mtu fraction",
            "tuning * text",
            "tuning sysctl of the host",
            "tuning sysctl number",
            "tuning sysctl list",
            "tuning allmulti number",
            "tuning alone",
            "vrf no name",
            "vrf name number",
            "vrf table *",
            "vrf alone",
        ),
        ("*/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "A network namespace that cannot be opened has error code 8.",
        "The reference keeps that code for namespaces that are the host's.",
        (
            "bridge no netns",
            "bridge netns is a file",
            "bandwidth no netns",
            "tuning no netns",
            "vrf no netns",
            "sbr no netns",
        ),
        ("1 ADD/error/code",),
        reference=999,
        ours=8,
    ),
    Intended(
        "A wrong CNI_ARGS has error code 4.",
        "It is an environment variable.",
        ("bridge CNI_ARGS unknown", "tuning CNI_ARGS unknown", "tuning CNI_ARGS without a value"),
        ("1 ADD/error/code",),
        reference=999,
        ours=4,
    ),
    Intended(
        "DEL of what never could be attached succeeds.",
        "A configuration that ADD refuses has left nothing; a DEL that fails is repeated for ever.",
        (
            "host-local no *",
            "host-local bad subnet",
            "host-local subnet too small",
            "host-local host bits",
            "host-local range outside",
            "host-local sets overlap",
            "host-local families mixed",
            "host-local 0.2.0 two of one family",
            "host-local data directory is a file",
            "host-local ranges is no list",
            "ptp without ipam",
            "bridge vlan *",
            "bridge CNI_ARGS unknown",
            "bridge netns is a file",
            "portmap host port 0",
            "portmap container port negative",
            "portmap mark bit *",
            "bandwidth * without *",
            "bandwidth burst too large",
            "bandwidth negative",
            "bandwidth too large a number",
            "firewall unknown policy",
            "tuning CNI_ARGS unknown",
            "tuning CNI_ARGS without a value",
            "vrf no name",
            "vrf name of a bridge",
        ),
        ("2 DEL/status", "2 DEL/error/code"),
    ),
    Intended(
        "Text that is not UTF-8 is an error.",
        "JSON is UTF-8; the reference replaces other bytes and goes on with names nobody wrote.",
        ("protocol, bytes that are no UTF-8",),
        ("1 ADD/*",),
    ),
)

ROLLBACK = (
    Intended(
        "Forwarding, once switched on, stays on, also when the ADD fails later.",
        "Others may rely on it by then; the reference switches it on after all gateways.",
        ("bridge two gateways of one family",),
        ("*/host/sysctl/*forward*",),
        reference="0",
        ours="1",
    ),
    Intended(
        "An ADD that fails leaves nothing.",
        "The reference leaves the interface pair, its addresses and routes, for a DEL to remove.",
        ("ptp without a gateway", *FAILED_BRIDGES),
        ("1 ADD/c1/*", f"1 ADD/host/link/{VETH}/*", f"1 ADD/host/sysctl/*/{VETH}/*"),
        ours=None,
    ),
    Intended(
        "An ADD that fails removes the bridge that it created.",
        "Unless another container uses it by then; the reference leaves it.",
        (
            "bridge two gateways of one family",
            "bridge unknown ipam",
            "bridge ipam outside",
            "bridge no addresses",
            "bridge 0.2.0 l2",
            *REFUSED_BRIDGES,
        ),
        ("*/host/link/br0/*", "*/host/sysctl/*/br0/*", "*/host/route/*"),
        reference=...,
        ours=None,
    ),
    Intended(
        "Forwarding is not switched on by an ADD that is refused.",
        "What can be known to be wrong is found before anything is changed.",
        ("ptp without a gateway",),
        ("*/host/sysctl/*forward*",),
        reference="1",
        ours="0",
    ),
    Intended(
        "loopback that refuses to attach leaves lo down.",
        "As for every other failed ADD, nothing stays changed.",
        ("loopback foreign address",),
        ("1 ADD/c1/link/lo/*",),
    ),
    Intended(
        "host-local remembers no address of an ADD that failed.",
        "Only a lease that was handed out moves the place where the next search begins.",
        ("host-local second set exhausted", "host-local requested outside"),
        ("*/files/n1/last_reserved_ip.0/*",),
        ours=None,
    ),
)

HOST_LOCAL = (
    Intended(
        "host-local's files are readable by root only.",
        "As the reference has them since 1.4.0; both read files of either mode.",
        ("host-local*", "bridge*", "ptp*"),
        ("*/files/n1/*/mode",),
        reference="-rw-r--r--",
        ours="-rw-------",
    ),
    Intended(
        "host-local creates its directory when it first leases an address.",
        "CHECK, DEL and an ADD that is refused only read.",
        (
            "host-local resolvConf missing",
            "host-local CHECK without a lease",
            "ptp DEL *",
            "ptp CHECK without prevResult",
            "bridge *",
        ),
        ("*/files/n1/mode", "*/files/n1/lock/*"),
        ours=None,
    ),
)

RESULTS = (
    Intended(
        "loopback's result has the shape of its version.",
        "The reference prints the newest shape under the label of 0.3.0 to 0.4.0.",
        ("loopback 0.4.0", "protocol, keys in capitals"),
        ("*/result/ips/*/version",),
        reference=None,
    ),
    Intended(
        "bridge passes the name servers of the IPAM plugin on.",
        "As the reference does since 1.2.0.",
        ("bridge dns of resolvConf",),
        ("1 ADD/result/dns/*",),
        reference=None,
    ),
    Intended(
        "CHECK finds a healthy attachment without IPAM healthy.",
        "The reference asks an IPAM plugin without a name and always fails.",
        ("bridge l2", "bridge ipam null"),
        ("2 CHECK/*",),
        ours=...,
    ),
    Intended(
        "CHECK finds a route that was given the default gateway.",
        "Newer versions of the reference compare the gateway that was really used, as ours do.",
        ("ptp routes", "bridge routes", "bridge ipv6 routes"),
        ("2 CHECK/status", "2 CHECK/error/code"),
    ),
)

LINKS = (
    Intended(
        "The host's end of an interface pair says whose it is.",
        "Its alias names network, container and interface, so that GC and a DEL without the "
        "namespace find it.",
        ("bridge*", "ptp*"),
        (f"*/host/link/{VETH}/ifalias",),
        reference=None,
    ),
    Intended(
        "Interface pairs have the kernel's default transmit queue length.",
        "As in the reference since 1.2.0; before, it was zero by accident.",
        ("bridge*", "ptp*"),
        ("*/link/*/txqlen",),
        reference=None,
        ours=1000,
    ),
    Intended(
        "Addresses are not probed for duplicates where none can be.",
        "On a point-to-point link, and with bridge's default, duplicate address detection only "
        "delays the attachment.",
        ("bridge*", "ptp*"),
        ("*/nodad",),
        reference=None,
        ours=True,
    ),
    Intended(
        "bridge announces IPv6 addresses, too.",
        "A neighbour may remember an earlier container with the address; the reference announces "
        "IPv4 ones only.",
        ("bridge*",),
        ("*/c1/sysctl/ipv6/conf/eth0/ndisc_notify",),
        reference="0",
        ours="1",
    ),
    Intended(
        "IPv6 addresses stay when the interface is set down.",
        "As in the reference since 1.7.0.",
        ("bridge*", "ptp*"),
        ("*/c1/sysctl/ipv6/conf/eth0/keep_addr_on_down",),
        reference="0",
        ours="1",
    ),
    Intended(
        "A bridge keeps its own MAC address.",
        "The reference lets it follow its ports, which breaks connections whenever a container "
        "comes or goes, until the bridge gets its first address.",
        ("bridge*",),
        (
            "*/host/link/*/mac",
            "*/result/interfaces/[01]/mac",
        ),
    ),
)

FIREWALL = (
    Intended(
        "Traffic between two subnets of one attachment is not masqueraded.",
        "The rules that accept stand before the one that masquerades; in the reference the second "
        "subnet's is behind it.",
        ("bridge masquerade two ranges of one family",),
        ("1 ADD/host/iptables",),
    ),
    Intended(
        "DEL removes the masquerading of several addresses of one family.",
        "The reference fails for ever because the chain is still in use.",
        ("bridge masquerade two ranges of one family",),
        ("2 DEL/*",),
    ),
)

BANDWIDTH = (
    Intended(
        "bandwidth's ifb says whose it is.",
        "Its alias names network, container and interface, so that GC finds it.",
        ("bandwidth*",),
        ("*/host/link/bwp*/ifalias",),
        reference=None,
    ),
    Intended(
        "bandwidth redirects what the container sends once.",
        "The reference adds a second action that no packet reaches.",
        ("bandwidth*",),
        ("[123] */host/filters",),
    ),
    Intended(
        "A second ADD of bandwidth replaces what the first one made.",
        "The reference fails because its own queues are in the way.",
        ("bandwidth*",),
        ("3 ADD/status", "3 ADD/error/code", "3 ADD/result/*"),
    ),
    Intended(
        "DEL of bandwidth ends the shaping of an interface that stays.",
        "The reference deletes the ifb only; all that the container sends is then lost.",
        ("bandwidth*",),
        ("[45] DEL/host/filters", "[45] DEL/host/qdiscs", f"[45] DEL/host/link/{VETH}/qdisc"),
    ),
    Intended(
        "A burst or a limit that 32 bits do not hold becomes the largest number that they do.",
        "The reference does so on arm64; on amd64 it keeps the low bits, which may be next to none.",
        ("bandwidth largest burst", "bandwidth more ticks than 32 bits"),
        ("[123] */host/qdiscs",),
    ),
    Intended(
        "bandwidth shapes any link of the host that is the container's alone.",
        "The reference refuses all but ends of veths; a virtual machine's link is none.",
        ("bandwidth at a reported tap",),
        ("[123] */*",),
    ),
    Intended(
        "A rate or a burst of less than a byte is refused before anything is changed.",
        "The kernel refuses it too, after the reference has begun.",
        ("bandwidth * below a byte",),
        (f"*/host/link/{VETH}/txqlen",),
        reference=1000,
        ours=None,
    ),
)

PORTMAP = (
    Intended(
        "CHECK finds healthy ports healthy.",
        "The reference looks for the rules of one address family in the other; newer versions do not.",
        ("portmap*",),
        ("2 CHECK/status", "2 CHECK/error/code"),
        reference=...,
        ours=...,
    ),
    Intended(
        "portmap with masqAll hides everybody who connects.",
        "As the reference will; the version compared does not know the key.",
        ("portmap masqAll",),
        ("[123] */host/ip*tables",),
    ),
    Intended(
        "Where ports of localhost lead to containers, localhost is guarded.",
        "The kernel no longer drops packets from elsewhere that claim to be or want to reach "
        "127.0.0.0/8 (CVE-2020-8558); a chain in the table raw does.",
        ("portmap unguarded",),
        ("*/host/iptables",),
    ),
    Intended(
        "portmap changes nothing for a mapping that cannot be made.",
        "The reference finds out after it has made its chains, and leaves them.",
        (
            "portmap host port too large",
            "portmap protocol unknown",
            "portmap hostIP a name",
            "portmap external chain missing",
        ),
        ("*/host/ip*tables",),
        ours=[],
    ),
    Intended(
        "portmap refuses a hostIP of a family that the container has no address of.",
        "The reference publishes nothing and says nothing.",
        ("portmap hostIP of no family",),
        ("1 ADD/status", "1 ADD/error/code", "1 ADD/result/*", "*/host/iptables"),
    ),
    Intended(
        "portmap refuses markMasqBit for the backend nftables.",
        "Nothing is marked there. The version compared has no other backend than iptables and takes it; "
        "newer ones ignore the bit.",
        ("portmap bit of the other backend",),
        ("1 ADD/status", "1 ADD/error/code", "1 ADD/result/*", "*/host/ip*tables"),
    ),
)

FORWARDING = (
    Intended(
        "A chain of firewall that no packet enters says whose each address is.",
        "The reference's rules cannot say it and stay what they are. With it, DEL needs no result, "
        "and GC finds what nobody deleted. The two rules of an address stand the other way round, "
        "so that those which the reference writes later are not taken for ours. But for that the "
        "rules are compared to the byte.",
        ("firewall*",),
        ("*/host/ip*tables",),
    ),
    Intended(
        "firewall's rules for all policies say so in their comments.",
        "As the newest reference writes them, which also knows `isolated`; older ones are recognised.",
        ("firewall same-bridge", "firewall same-bridge ipv4", "firewall same-bridge, rules before"),
        ("*/host/ip*tables",),
    ),
    Intended(
        "CHECK of firewall changes nothing.",
        # in which family it looks first is left to chance
        "The reference creates the chains that it does not find.",
        ("firewall CHECK without an ADD",),
        ("1 CHECK/host/ip*tables",),
    ),
    Intended(
        "firewall refuses a backend that it does not know.",
        "The reference takes any other word, be it a misspelt one, for no word.",
        ("firewall unknown backend",),
        ("1 ADD/*",),
    ),
    Intended(
        "firewall refuses a policy before it has changed anything.",
        "The reference has already let the addresses pass.",
        ("firewall unknown policy", "firewall policy without an interface"),
        ("*/host/iptables",),
    ),
)

BACKUP = "*/files/*c1_eth0.json"

TUNING = (
    Intended(
        "tuning's backup also says whose it is and what the sysctls were.",
        "DEL puts them back and GC finds it; the reference ignores the members that it does not "
        "know, and writes no file if only sysctls are set.",
        ("tuning*",),
        (f"{BACKUP}/content", f"{BACKUP}/mode", "*/files/tuning/mode"),
    ),
    Intended(
        "DEL of tuning also removes a backup that is of no use any more.",
        "The reference leaves it where the namespace or the interface is gone, or if it is torn.",
        ("tuning DEL with *",),
        ("1 DEL/files/tuning/*",),
        ours=None,
    ),
    Intended(
        "A second ADD of tuning keeps what was there before the first.",
        "The reference then saves what the first one set, and DEL restores that.",
        ("tuning link",),
        ("[45] DEL/c1/link/eth0/*",),
    ),
    Intended(
        "DEL of tuning restores sysctls.",
        "The reference leaves them as ADD has set them.",
        ("tuning *sysctl*", "tuning all once", "tuning on the list"),
        ("* DEL/c1/sysctl/*",),
    ),
    Intended(
        "An ADD of tuning that fails has changed nothing.",
        "The reference leaves what it has set until then, with a backup of it.",
        ("tuning negative mtu", "tuning mtu below the kernel's", "tuning no interface"),
        ("1 ADD/c1/*", "2 DEL/c1/sysctl/*"),
    ),
    Intended(
        "MAC addresses are spelled as the kernel does, in the result and for CHECK.",
        "The reference passes them on as configured, and its CHECK takes capitals for another "
        "address.",
        ("tuning mac in capitals",),
        ("1 ADD/result/interfaces/2/mac", "2 CHECK/status", "2 CHECK/error/code"),
    ),
    Intended(
        "tuning changes no interface of the host in the result.",
        "The reference changes every one of the name, whatever namespace it is in.",
        ("tuning of a host's interface of the same name",),
        ("1 ADD/result/interfaces/0/mac",),
        ours=None,
    ),
    Intended(
        "tuning sets the length of the transmit queue.",
        "As newer versions of the reference do; this one ignores the key.",
        ("tuning txQLen",),
        ("*/c1/link/eth0/txqlen",),
        ours=500,
    ),
    Intended(
        "CHECK of tuning knows IFNAME in the name of a sysctl.",
        "As newer versions of the reference do; this one looks for a file of that name.",
        ("tuning sysctls", "tuning args sysctl", "tuning all once", "tuning on the list"),
        ("2 CHECK/status", "2 CHECK/error/code"),
    ),
    Intended(
        "Sysctls in args need none beside them.",
        "The reference crashes.",
        ("tuning args sysctl alone",),
        ("*/status", "1 ADD/result/*", "[12] */c1/sysctl/*"),
    ),
    Intended(
        "A sysctl that stands twice is refused, and one that is not on the node's list.",
        "As newer versions of the reference do; in its list a part of a name is enough, in ours a "
        "line matches the whole name.",
        ("tuning duplicate sysctl", "tuning not on the list"),
        ("1 ADD/*", "2 DEL/c1/sysctl/*"),
    ),
)

SBR = (
    Intended(
        "A second ADD of sbr changes nothing.",
        "The reference adds a second rule, which leads to an empty table, and fails.",
        ("sbr*",),
        ("3 ADD/c1/rules", "3 ADD/error/code", "3 ADD/result/*", "3 ADD/status"),
    ),
    Intended(
        "DEL of sbr removes the interface's routes from the tables that its rules led to.",
        "The reference leaves them to an interface that stays, and nothing tells any more whose "
        "they are.",
        ("sbr*",),
        ("[2345] DEL/c1/route/[46] 10[0-9] *",),
        ours=None,
    ),
    Intended(
        "sbr copies a route into tables of its own family only.",
        "The rule of an IPv4 address never leads to an IPv6 route; the reference copies those too.",
        ("sbr*",),
        ("[123] */c1/route/6 100 *",),
        ours=None,
    ),
    Intended(
        "sbr refuses a result without an address of the interface.",
        "The reference takes the interface's routes from the main table and gives them nobody.",
        ("sbr address of another",),
        ("* */c1/route/4 main *", "1 ADD/status", "1 ADD/error/code", "1 ADD/result/*"),
    ),
    Intended(
        "An ADD of sbr that fails leaves no rule.",
        "As for every other failed ADD, nothing stays changed.",
        ("sbr gateway out of reach",),
        ("1 ADD/c1/rules",),
        ours=[],
    ),
    Intended(
        "DEL of sbr succeeds when interface or namespace are gone.",
        "The rules went with the namespace; the reference fails for ever, and makes an empty file "
        "in the place of the namespace.",
        (
            "sbr alone",
            "sbr no such interface",
            "sbr no netns",
            "sbr DEL only",
            "sbr DEL without a netns",
        ),
        ("[12] DEL/status", "[12] DEL/error/code"),
    ),
    Intended(
        "sbr accepts a prevResult without cniVersion.",
        "It has the configuration's, as for all other plugins of the reference.",
        ("sbr prevResult without a version",),
        ("*",),
    ),
)

VRF = (
    Intended(
        "CHECK of vrf fails if there is no VRF.",
        "The reference succeeds if there is no interface of that name.",
        ("vrf CHECK without an ADD",),
        ("1 CHECK/*",),
    ),
)

INTENDED = (
    *ERRORS,
    *ROLLBACK,
    *HOST_LOCAL,
    *RESULTS,
    *LINKS,
    *FIREWALL,
    *BANDWIDTH,
    *PORTMAP,
    *FORWARDING,
    *TUNING,
    *VRF,
    *SBR,
    *MACVLAN,
    *HOST_DEVICE,
)
