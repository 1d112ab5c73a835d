"""How an attachment becomes an element and a chain."""

from cnicore.addresses import parse_cidr
from cnicore.firewall.masquerade_table import chain_of, creation, own_subnets
from cnicore.owner import Owner
from cnicore.result import IpConfig


def subnets(*cidrs):
    return own_subnets([IpConfig(parse_cidr(cidr)) for cidr in cidrs])


def test_subnets_are_sorted_by_family_and_named_once():
    assert subnets("10.2.0.2/24", "fd01::2/64", "10.1.0.2/24", "10.1.0.3/24") == {
        4: ["10.1.0.0/24", "10.2.0.0/24"],
        6: ["fd01::/64"],
    }


def test_an_address_alone_has_no_subnet():
    assert subnets("10.1.0.2/32", "fd01::2/128") == {4: [], 6: []}


def test_a_chain_is_named_after_its_subnets():
    assert chain_of(4, []) == "subnet-none-ipv4"
    assert chain_of(4, ["10.1.0.0/24"]) == "subnet-10.1.0.0-24"
    assert chain_of(6, ["fd01::/64"]) == "subnet-fd01__-64"
    assert chain_of(4, ["10.1.0.0/24", "10.2.0.0/24"]) == "subnet-10.1.0.0-24-and-10.2.0.0-24"


def test_many_subnets_become_a_hash():
    name = chain_of(4, [f"10.{number}.0.0/24" for number in range(20)])

    assert len(name) == 71
    assert name != chain_of(4, [f"10.{number}.0.0/24" for number in range(21)])


def test_an_element_carries_its_owner_and_leads_to_the_chain():
    command = creation(Owner("n", "c", "eth0"), parse_cidr("10.1.0.2/24"), subnets("10.1.0.2/24"))

    assert command == {
        "create": {
            "element": {
                "family": "inet",
                "table": "cni",
                "name": "masquerade4",
                "elem": [
                    [
                        {"elem": {"val": "10.1.0.2", "comment": "cni:n/c/eth0"}},
                        {"goto": {"target": "subnet-10.1.0.0-24"}},
                    ]
                ],
            }
        }
    }
