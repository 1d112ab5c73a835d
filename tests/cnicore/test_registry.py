"""Finding and loading plugins."""

from __future__ import annotations

import sys

import pytest

from cnicore import registry
from cnicore.errors import CniError, PluginNotAvailable

HOOK = "from cnicore.hookspecs import hookimpl\n@hookimpl\n"
ACME = "[cni.plugins]\nacme = acme_plugin\n"


def test_a_distribution_on_the_path_offers_its_plugins(distribute):
    distribute(ACME, acme_plugin="raise AssertionError('not asked for')")
    point = registry.find("acme").entry_point
    assert (point.value, point.distribution, point.version) == (
        "acme_plugin",
        "acme-plugins",
        "1.2.3",
    )


def test_the_first_distribution_on_the_path_wins(distribute):
    distribute("[cni.plugins]\nacme = second\n", name="later")
    distribute("[cni.plugins]\nacme = first\n", name="earlier")
    assert registry.find("acme").entry_point.value == "first"


def test_a_shadowed_copy_of_a_distribution_does_not_count(distribute):
    distribute("[cni.plugins]\nold = acme_plugin\n", version="1.0")
    distribute(ACME, version="2.0")
    assert "old" not in registry.installed()


@pytest.mark.parametrize(
    "text",
    [
        "[cni.plugins]\n acme=acme_plugin \n",
        "[console_scripts]\nacme = other\n[cni.plugins]\n# acme = x\nacme = acme_plugin\n\n",
        "\n[ cni.plugins ]\nacme\t=\tacme_plugin",
    ],
)
def test_entry_points_are_read_as_the_packaging_rules_write_them(distribute, text):
    distribute(text)
    assert registry.find("acme").entry_point.value == "acme_plugin"


def test_folders_that_are_not_there_or_hold_nothing_are_passed_over(tmp_path):
    (tmp_path / "torn-1.0.dist-info").mkdir()
    assert registry.installed([str(tmp_path), str(tmp_path / "gone"), "/dev/null"]) == {}


def test_an_unknown_type_is_an_error_that_lists_the_known_ones(distribute):
    distribute(ACME)
    with pytest.raises(CniError, match='no plugin "no-such" is installed: known types are acme, '):
        registry.find("no-such")


def test_a_loaded_plugin_answers_hooks(distribute, minimal):
    distribute(ACME, acme_plugin=minimal)
    plugin = registry.find("acme")
    assert plugin.load().cni_config().__name__ == "NetConf"
    assert plugin.implements("ADD")
    assert not plugin.implements("GC")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module_anywhere", "cannot import plugin"),
        ("1 / 0", "cannot import plugin"),
        (HOOK + "def cni_ad():\n    pass\n", "unknown hook 'cni_ad'"),
        (HOOK + "def cni_del(reqest):\n    pass\n", "reqest"),
    ],
)
def test_a_plugin_that_does_not_fit_is_refused_by_name(distribute, source, problem):
    distribute(ACME, acme_plugin=source)
    with pytest.raises(PluginNotAvailable) as caught:
        registry.find("acme").load()
    assert '"acme"' in caught.value.msg
    assert "acme-plugins" in caught.value.msg
    assert problem in caught.value.msg


def test_an_extension_surrounds_every_plugin(distribute, minimal):
    wrapper = """
from cnicore.hookspecs import hookimpl
calls = []

@hookimpl(wrapper=True)
def cni_add(request):
    calls.append(request)
    return (yield)
"""
    distribute(ACME, acme_plugin=minimal)
    distribute("[cni.extensions]\ntrace = acme_trace\n", name="tracer", acme_trace=wrapper)
    registry.find("acme").load().cni_add(request="a request", conf=None)

    import acme_trace

    assert acme_trace.calls == ["a request"]


def test_a_plugin_may_support_fewer_versions(distribute, minimal):
    distribute(
        f"{ACME}new = acme_plugin\n[cni.versions]\nnew = cnicore.spec:SINCE_0_4_0\n",
        acme_plugin=minimal,
    )
    assert registry.find("acme").supported_versions[0] == "0.1.0"
    assert registry.find("new").supported_versions == ("0.4.0", "1.0.0", "1.1.0")


DAEMON = "[cni.commands]\nacme-daemon = acme_daemon:main\n"


def test_a_distribution_offers_commands_that_are_imported_when_they_are_run(distribute):
    distribute(DAEMON, acme_daemon="def main(words, environ):\n    return len(words)\n")
    command = registry.commands()["acme-daemon"]
    assert "acme_daemon" not in sys.modules
    assert command.run(["-a", "-b"], {}) == 2


def test_the_first_distribution_on_the_path_wins_its_command(distribute):
    distribute(DAEMON.replace("main", "later"), name="later")
    distribute(DAEMON, name="earlier")
    assert registry.commands()["acme-daemon"].entry_point.distribution == "earlier"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_anywhere", 'cannot import command "acme-daemon"'),
        (
            "main = 3",
            '"acme-daemon" of acme-plugins is no command: acme_daemon:main is no function',
        ),
        ("", '"acme-daemon" of acme-plugins is no command: acme_daemon:main is no function'),
    ],
)
def test_a_command_that_is_none_is_refused_by_name(distribute, source, message):
    distribute(DAEMON, acme_daemon=source)
    with pytest.raises(PluginNotAvailable) as caught:
        registry.commands()["acme-daemon"].run([], {})
    assert caught.value.msg.startswith(message)
