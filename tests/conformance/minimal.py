"""The source of the smallest plugin: ADD succeeds with an empty result."""

MINIMAL = """
from cnicore.config import NetConf
from cnicore.hookspecs import hookimpl
from cnicore.result import Result

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add():
    return Result()
"""
