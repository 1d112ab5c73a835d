"""The contract with plugins."""

from __future__ import annotations

import inspect

import pluggy
import pytest

from cnicore import registry
from cnicore.dispatch import VERBS, dispatch
from cnicore.hookspecs import CniVerbs, hookimpl
from cnicore.request import Request
from cnicore.result import Result

HOOKS = {name: hook for name, hook in vars(CniVerbs).items() if name.startswith("cni_")}
BARE = """
from cnicore.config import NetConf
from cnicore.hookspecs import hookimpl
from cnicore.result import Interface, Result

class AcmeConf(NetConf):
    size: int = 1

calls = []

@hookimpl
def cni_config():
    return AcmeConf

@hookimpl
def cni_add(conf):
    return Result(interfaces=(Interface(f"size{conf.size}"),))

@hookimpl
def cni_del():
    calls.append("DEL")

@hookimpl
def cni_check(request):
    calls.append(request.verb)

@hookimpl
def cni_gc(conf, request):
    calls.append(f"{request.verb} of {request.network}, size {conf.size}")
"""


def test_there_is_a_hook_for_the_configuration_and_for_every_verb_but_version():
    assert HOOKS.keys() == {"cni_config", *(f"cni_{verb.lower()}" for verb in VERBS)}


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_says_when_it_is_called_and_one_plugin_answers(name):
    assert HOOKS[name].__doc__
    assert HOOKS[name].cni_spec["firstresult"]


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_a_verb_gets_the_request_and_its_configuration_and_nothing_else(name):
    arguments = [] if name == "cni_config" else ["request", "conf"]
    assert list(inspect.signature(HOOKS[name]).parameters) == ["self", *arguments]


def test_a_hook_may_leave_out_arguments_and_take_them_in_any_order(distribute):
    distribute("[cni.plugins]\nacme = acme_plugin\n", acme_plugin=BARE)
    plugin = registry.find("acme")
    conf = {"name": "net", "cniVersion": "1.1.0", "size": 3}
    results = [dispatch(Request(verb, document=conf, environ={}), plugin) for verb in VERBS]

    import acme_plugin

    assert [result and result.interfaces[0].name for result in results] == ["size3", *[None] * 4]
    assert acme_plugin.calls == ["DEL", "CHECK", "GC of net, size 3"]


def test_a_wrapper_sees_the_result_and_may_change_it():
    class Plugin:
        @hookimpl
        def cni_add(self):
            return Result()

    class Wrapper:
        @hookimpl(wrapper=True)
        def cni_add(self, request):
            result = yield
            return (request, result)

    manager = pluggy.PluginManager("cni")
    manager.add_hookspecs(CniVerbs)
    manager.register(Plugin())
    manager.register(Wrapper())
    manager.check_pending()
    assert manager.hook.cni_add(request="a request", conf=None) == ("a request", Result())


def test_an_error_of_a_plugin_comes_through_as_it_is():
    class Plugin:
        @hookimpl
        def cni_status(self):
            raise LookupError("which")

    manager = pluggy.PluginManager("cni")
    manager.add_hookspecs(CniVerbs)
    manager.register(Plugin())
    with pytest.raises(LookupError, match="which"):
        manager.hook.cni_status(request=None, conf=None)
