"""GC and STATUS: what is stale, what plugins are told, which failures are reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cnicore.errors import CniError
from cnicore.runtime import Attachment, Network, Runtime


class TestGc:
    OTHER = Attachment("def456", netns="/run/netns/red", ifname="net1")

    def test_disabled_it_does_nothing(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        network = make_network(disableGC=True)
        runtime.add(network, attachment)
        plugins.forget()
        runtime.gc(network, [])
        assert plugins.calls == []

    def test_a_valid_attachment_stays_and_plugins_learn_of_it(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        runtime.add(network, attachment)
        plugins.forget()
        runtime.gc(network, [attachment])
        assert plugins.sequence == ["GC first", "GC second"]
        valid = [{"containerID": "abc123", "ifname": "eth0"}]
        assert plugins.calls[0].stdin == {
            "type": "first",
            "name": "dbnet",
            "cniVersion": "1.1.0",
            "cni.dev/valid-attachments": valid,
            "cni.dev/attachments": valid,
        }
        variables = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_ARGS", "CNI_IFNAME"]
        assert [plugins.calls[0].environ[name] for name in variables] == ["", "", "", ""]

    def test_stale_attachments_are_deleted_with_what_they_were_made_with(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        network = make_network({"type": "first", "capabilities": {"mac": True}})
        runtime.add(network, replace(attachment, capability_args={"mac": "02:00:00:00:00:01"}))
        runtime.add(network, self.OTHER)
        plugins.forget()
        runtime.gc(network, [self.OTHER])
        assert plugins.sequence == ["DEL first", "GC first"]
        call = plugins.calls[0]
        assert (call.environ["CNI_CONTAINERID"], call.environ["CNI_NETNS"]) == (
            "abc123",
            "/run/netns/blue",
        )
        assert call.environ["CNI_ARGS"] == "K=v;L=w"
        assert call.stdin["runtimeConfig"] == {"mac": "02:00:00:00:00:01"}
        assert [one.attachment.container_id for one in runtime.attachments()] == ["def456"]

    def test_without_a_list_everything_is_stale_and_plugins_are_not_told(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        runtime.add(network, attachment)
        plugins.forget()
        runtime.gc(network)
        assert plugins.sequence == ["DEL second", "DEL first", "GC first", "GC second"]
        assert "cni.dev/valid-attachments" not in plugins.calls[-1].stdin

    def test_an_empty_list_is_told(self, runtime: Runtime, plugins: Any, network: Network) -> None:
        runtime.gc(network, [])
        assert plugins.calls[0].stdin["cni.dev/valid-attachments"] == []

    def test_other_networks_are_left_alone(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        runtime.add(make_network(name="other"), attachment)
        plugins.forget()
        runtime.gc(make_network(), [])
        assert plugins.sequence == ["GC first", "GC second"]

    def test_before_1_1_0_stale_attachments_are_deleted_but_plugins_have_no_gc(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        network = make_network(version="1.0.0")
        runtime.add(network, attachment)
        plugins.forget()
        runtime.gc(network, [])
        assert plugins.sequence == ["DEL second", "DEL first"]

    def test_it_goes_on_after_failures_and_reports_all(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        runtime.add(network, attachment)
        plugins.fail("second", "DEL", 11, "later")
        plugins.fail("first", "GC", 100, "no")
        with pytest.raises(CniError) as failure:
            runtime.gc(network, [])
        assert str(failure.value) == (
            "failed to delete stale attachment abc123 eth0:"
            ' plugin type="second" name="two" failed (delete): later\n'
            "failed to GC plugin first: no"
        )
        assert failure.value.code == 11
        assert plugins.sequence[-1] == "GC second"


class TestStatus:
    def test_plugins_get_the_configuration_alone(
        self, runtime: Runtime, plugins: Any, network: Network
    ) -> None:
        runtime.status(network)
        assert plugins.sequence == ["STATUS first", "STATUS second"]
        assert plugins.calls[0].stdin == {"type": "first", "name": "dbnet", "cniVersion": "1.1.0"}

    def test_half_of_a_surrogate_pair_in_the_configuration_is_no_obstacle(
        self, runtime: Runtime, plugins: Any, make_network: Any
    ) -> None:
        runtime.status(make_network({"type": "first", "x": "\ud800"}))
        assert plugins.sequence == ["STATUS first"]

    def test_the_first_failure_stops_it_and_shows_its_code(
        self, runtime: Runtime, plugins: Any, network: Network
    ) -> None:
        plugins.fail("first", "STATUS", 50, "no addresses left")
        with pytest.raises(CniError) as failure:
            runtime.status(network)
        assert (failure.value.code, str(failure.value)) == (50, "no addresses left")
        assert plugins.sequence == ["STATUS first"]

    def test_before_1_1_0_nothing_runs(
        self, runtime: Runtime, plugins: Any, make_network: Any
    ) -> None:
        runtime.status(make_network(version="1.0.0"))
        assert plugins.calls == []


@pytest.mark.parametrize("act", ["check", "delete", "gc", "status"])
def test_a_version_that_is_none_is_an_error(
    runtime: Runtime, make_network: Any, attachment: Attachment, act: str
) -> None:
    network = make_network(version="banana")
    arguments = [attachment] if act in {"check", "delete"} else []
    with pytest.raises(CniError, match='cniVersion of network "dbnet": "banana" is no version'):
        getattr(runtime, act)(network, *arguments)
