"""What the daemon does for each verb, with servers and the container's interface in memory."""

import asyncio
from ipaddress import IPv4Address, ip_address

import pytest

from cni_ipam.dhcp.keepers import Keepers
from cni_ipam.dhcp.service import Service
from cni_ipam.dhcp.terms import Patience
from cnicore.errors import CniError, InvalidNetns, InvalidNetworkConfig, TryAgainLater
from cnicore.request import Request
from dhcp.scene import Scene, in_place
from dhcp.servers import Server4, serving4
from dhcp.virtual import run

NETWORK = {"cniVersion": "1.1.0", "name": "mynet", "type": "bridge", "ipam": {"type": "dhcp"}}
PREV_RESULT = {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.50/24"}]}


@pytest.fixture
def scene(tmp_path):
    with in_place(Scene(tmp_path)) as scene:
        yield scene


@pytest.fixture
def ask(scene):
    """Makes requests about c1/eth0 in mynet."""

    def request(verb, **keys):
        ipam = {**NETWORK["ipam"], **keys.pop("ipam", {})}
        container_id = keys.pop("container_id", "c1")
        document = {**NETWORK, "ipam": ipam, **keys}
        return Request(verb, container_id, str(scene.path), "eth0", document=document)

    return request


def served(scene, steps, server=None, **patience):
    """Runs the steps, a coroutine function of the service."""
    server = server or Server4()

    async def main():
        keepers = Keepers(Patience(**patience), scene.records)
        with serving4(server):
            done = await steps(Service(keepers, scene.records.directory, add_seconds=208))
            keepers.close()
            await asyncio.sleep(0)  # one that is asking closes its port when it next gets its turn
        return done

    return run(main), server


def test_add_leases_and_is_the_same_the_second_time(scene, ask):
    async def steps(service):
        first = await service.answer(ask("ADD"), None)
        again = await service.answer(ask("ADD"), None)
        return first, again

    (first, again), server = served(scene, steps)

    (ip,) = first.result.ips
    assert (str(ip.address), ip.gateway) == ("10.1.0.50/24", ip_address("10.1.0.1"))
    assert [str(route.dst) for route in first.result.routes] == ["0.0.0.0/0"]
    assert again.result == first.result
    assert (first.undo is None, again.undo is None) == (False, True)
    assert server.kinds() == ["DISCOVER", "REQUEST"]


def test_add_works_with_the_namespace_that_is_passed(scene, ask):
    async def steps(service):
        handle = scene.descriptor()
        return await service.answer(ask("ADD"), handle)

    done, _ = served(scene, steps)

    assert len(done.result.ips) == 1


def test_what_was_leased_can_be_taken_back(scene, ask):
    async def steps(service):
        done = await service.answer(ask("ADD"), None)
        await done.undo()

    _, server = served(scene, steps)

    assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]
    assert list(scene.records.read()) == []


def test_an_add_that_is_cancelled_leaves_nothing(scene, ask):
    async def steps(service):
        doing = asyncio.ensure_future(service.answer(ask("ADD"), None))
        await asyncio.sleep(30)
        doing.cancel()
        await asyncio.wait([doing])
        return doing.cancelled()

    is_cancelled, server = served(scene, steps, Server4(answers=set()))

    assert is_cancelled
    assert set(server.kinds()) == {"DISCOVER"}
    assert list(scene.records.read()) == []


def test_an_add_without_a_server_ends_with_what_to_do(scene, ask):
    async def steps(service):
        with pytest.raises(TryAgainLater, match=r"no DHCP server answered on eth0 within 20 s"):
            await service.answer(ask("ADD"), None)

    served(scene, steps, Server4(answers=set()), resend_timeout=20)


@pytest.mark.parametrize(
    ("keys", "kind", "message"),
    [
        ({"ipam": {"request": [{"option": "x"}]}}, InvalidNetworkConfig, "Can not parse option"),
        ({"ipam": {"protocols": []}}, InvalidNetworkConfig, "ipam.protocols: the list is empty"),
    ],
)
def test_an_add_that_asks_for_nonsense_is_refused(scene, ask, keys, kind, message):
    async def steps(service):
        with pytest.raises(kind, match=message):
            await service.answer(ask("ADD", **keys), None)

    _, server = served(scene, steps)

    assert server.heard == []


def test_a_namespace_that_is_none_is_refused(scene, ask):
    scene.path.unlink()

    async def steps(service):
        with pytest.raises(InvalidNetns, match="failed to open netns"):
            await service.answer(ask("ADD"), None)

    served(scene, steps)


def test_del_releases_and_may_be_repeated(scene, ask):
    async def steps(service):
        await service.answer(ask("ADD"), None)
        for _ in range(2):
            assert (await service.answer(ask("DEL"), None)).result is None

    _, server = served(scene, steps)

    assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]


def test_check_compares_with_the_result_of_the_add(scene, ask):
    async def steps(service):
        with pytest.raises(CniError, match="has no lease for eth0 of container c1 in the network"):
            await service.answer(ask("CHECK"), None)
        await service.answer(ask("ADD"), None)
        await service.answer(ask("CHECK"), None)
        await service.answer(ask("CHECK", prevResult=PREV_RESULT), None)
        wrong = {**PREV_RESULT, "ips": [{"address": "10.1.0.51/24"}]}
        with pytest.raises(CniError, match=r"the lease is of 10.1.0.50/24 now, and prevResult"):
            await service.answer(ask("CHECK", prevResult=wrong), None)

    served(scene, steps)


def test_check_says_that_the_lease_is_lost(scene, ask):
    server = Server4(seconds=60)

    async def steps(service):
        await service.answer(ask("ADD"), None)
        server.answers = set()
        await asyncio.sleep(120)
        with pytest.raises(CniError, match="eth0 has no lease now: "):
            await service.answer(ask("CHECK"), None)

    served(scene, steps, server)


def test_gc_ends_what_is_not_valid_and_nothing_else(scene, ask):
    valid = {"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]}
    server = Server4()

    async def steps(service):
        for number in (1, 2, 3):
            server.address = IPv4Address(f"10.1.0.{50 + number}")
            await service.answer(ask("ADD", container_id=f"c{number}"), None)
        await service.answer(ask("ADD", name="other", container_id="c1"), None)
        await service.answer(ask("GC", **valid), None)

    served(scene, steps, server)

    released = {
        str(one.message.ciaddr) for one in server.heard if one.message.kind.name == "RELEASE"
    }
    left = {(one.owner.network, one.owner.container_id) for one in scene.records.read()}
    assert released == {"10.1.0.51", "10.1.0.53"}
    assert left == {("mynet", "c2"), ("other", "c1")}


def test_gc_without_a_list_is_refused(scene, ask):
    async def steps(service):
        with pytest.raises(CniError, match="no list of valid attachments"):
            await service.answer(ask("GC"), None)

    served(scene, steps)


def test_status_says_nothing(scene, ask):
    async def steps(service):
        return await service.answer(ask("STATUS"), None)

    done, _ = served(scene, steps)

    assert done.result is None


def test_it_promises_to_answer_in_time(scene, ask):
    async def steps(service):
        return [service.seconds(ask(verb)) for verb in ("ADD", "DEL", "GC", "CHECK", "STATUS")]

    seconds, _ = served(scene, steps)

    assert seconds[0] > 208
    assert max(seconds[1:]) <= 10
