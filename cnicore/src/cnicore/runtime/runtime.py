"""The runtime's half of the CNI specification: attach, check, detach along a network's plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path

from cnicore.attempts import attempt_all
from cnicore.documents import Document, decode_object
from cnicore.errors import CniError, DecodingFailure, InvalidNetworkConfig, UnknownContainer
from cnicore.owner import Owner
from cnicore.rollback import OnFailure, rollback
from cnicore.runtime.cache import CachedAttachment, ResultCache, merged
from cnicore.runtime.failures import reported_as, reported_together
from cnicore.runtime.network import AddResult, Attachment, Network, PluginConf
from cnicore.runtime.programs import Programs
from cnicore.runtime.stdin import attachment_stdin, gc_stdin, status_stdin
from cnicore.spec import (
    Version,
    is_identifier,
    parse_version,
    require_container_id,
    require_ifname,
)
from cnicore.versions import decode_result, with_version

CACHE_DIR = "/var/lib/cni"
SINCE: dict[str, Version] = {
    "CHECK": (0, 4, 0),
    "prevResult on DEL": (0, 4, 0),
    "GC": (1, 1, 0),
    "STATUS": (1, 1, 0),
}


@dataclass(frozen=True)
class Runtime:
    """Runs the plugins found in `plugin_dirs` and remembers results below `cache_dir`.

    `timeout` is in seconds for each call of a plugin, None for no limit. `environ` is what plugins
    inherit, None for this process's environment. It holds no state and may be shared by threads,
    but calls for one attachment must not overlap (specification, section 3).
    """

    plugin_dirs: Sequence[str | PathLike[str]]
    cache_dir: str | PathLike[str] = CACHE_DIR
    timeout: float | None = None
    environ: Mapping[str, str] | None = None

    @property
    def _programs(self) -> Programs:
        directories = tuple(fspath(directory) for directory in self.plugin_dirs)
        return Programs(directories, self.timeout, self.environ)

    @property
    def _cache(self) -> ResultCache:
        return ResultCache(Path(self.cache_dir) / "results")

    def add(self, network: Network, attachment: Attachment) -> AddResult:
        """Attach: ADD of every plugin in order, then remember the result.

        Raises CniError, with the code of the plugin that failed. What this call made is taken back
        then (the reference leaves it to the caller), unless the attachment was remembered before:
        DEL would take that one.
        """
        results: list[Document] = []
        is_known = self._cache.knows(owner(network, attachment))
        with rollback() as on_failure:
            undo_later = nothing if is_known else on_failure
            for plugin in network.plugins:
                with reported_as(prefix(network, plugin, "add")):
                    self._add_one(network, plugin, attachment, results, undo_later)
            if not results:
                raise InvalidNetworkConfig(f'no plugin configs found in network "{network.name}"')
            entry = CachedAttachment(network.name, attachment, network.raw)
            with reported_as(f'failed to set network "{network.name}" cached result'):
                self._cache.write(owner(network, attachment), entry, results[-1])
        return AddResult(results[-1])

    def _add_one(
        self,
        network: Network,
        plugin: PluginConf,
        attachment: Attachment,
        results: list[Document],
        on_failure: OnFailure,
    ) -> None:
        """Append what the plugin made to the results of those before it."""
        programs = self._programs
        file = programs.find(plugin.type)
        require_attachable(network, attachment)
        prev_result = results[-1] if results else None
        stdin = attachment_stdin(network, plugin, attachment.capability_args, prev_result)
        undo = partial(self._take_back, network, plugin, attachment, results)
        if results:  # it may fail half made
            on_failure(undo)
            output = programs.run(file, "ADD", stdin, attachment)
        else:  # the first refuses what somebody else has attached: only a success is ours
            output = programs.run(file, "ADD", stdin, attachment, lambda: on_failure(undo))
        document = decode_object(output, "failed to unmarshal raw result")
        document = with_version(document, network.cni_version or "0.1.0")
        # a result that nobody can read is a failure
        decode_result(document, document["cniVersion"])
        results.append(document)

    def _take_back(
        self,
        network: Network,
        plugin: PluginConf,
        attachment: Attachment,
        results: Sequence[Document],
    ) -> None:
        is_told = bool(results) and supports(network, "prevResult on DEL")
        self._run(network, plugin, "DEL", attachment, results[-1] if is_told else None)

    def check(self, network: Network, attachment: Attachment) -> None:
        """Raise CniError unless every plugin finds the attachment as ADD left it.

        Raises also if the configuration's version is before 0.4.0 or the remembered result is torn.
        """
        if not supports(network, "CHECK"):
            raise CniError(
                f'configuration version "{network.cni_version}" does not support the CHECK command'
            )
        if network.disable_check:
            return
        with reported_as(f'failed to get network "{network.name}" cached result'):
            result = self._cached_document(network, attachment)
        for plugin in network.plugins:
            self._run(network, plugin, "CHECK", attachment, result)

    def delete(self, network: Network, attachment: Attachment) -> None:
        """Detach: DEL of every plugin in reverse order, then forget the result.

        It may be repeated. `attachment` has to carry args and capability args again. Raises
        CniError of the first plugin that fails; the result is kept then.
        """
        result: Document | None = None
        if supports(network, "prevResult on DEL"):
            try:
                result = self._cached_document(network, attachment)
            except CniError:  # torn: it must not keep the container from going
                self._cache.remove(owner(network, attachment))
        for plugin in reversed(network.plugins):
            with reported_as(prefix(network, plugin, "delete")):
                self._run(network, plugin, "DEL", attachment, result)
        self._cache.remove(owner(network, attachment))

    def gc(self, network: Network, valid: Iterable[Attachment] | None = None) -> None:
        """Remove what belongs to the network but not to one of the valid attachments.

        None means that nothing is valid and that plugins are not told either. Remembered
        attachments that are not valid are deleted, then every plugin does its GC (from 1.1.0).
        Goes on after a failure and raises one CniError with a line for each.
        """
        if network.disable_gc:
            return
        valid = None if valid is None else tuple(valid)
        keep = {(one.container_id, one.ifname) for one in valid or ()}
        plugins = network.plugins if supports(network, "GC") else ()
        with reported_together(), attempt_all() as attempt:
            for cached in self.attachments():
                one = cached.attachment
                if cached.network == network.name and (one.container_id, one.ifname) not in keep:
                    attempt(self._delete_stale, network, one)
            for plugin in plugins:
                attempt(self._gc_one, plugin, gc_stdin(network, plugin, valid))

    def _delete_stale(self, network: Network, attachment: Attachment) -> None:
        stale = f"{attachment.container_id} {attachment.ifname}"
        with reported_as(f"failed to delete stale attachment {stale}"):
            self.delete(network, attachment)

    def _gc_one(self, plugin: PluginConf, stdin: bytes) -> None:
        with reported_as(f"failed to GC plugin {plugin.type}"):
            programs = self._programs
            programs.run(programs.find(plugin.type), "GC", stdin)

    def status(self, network: Network) -> None:
        """Raise the CniError of the first plugin that could not serve an ADD now (codes 50, 51).

        Before version 1.1.0 there is no such question and nothing is run.
        """
        if not supports(network, "STATUS"):
            return
        programs = self._programs
        for plugin in network.plugins:
            programs.run(programs.find(plugin.type), "STATUS", status_stdin(network, plugin))

    def validate(self, network: Network) -> tuple[str, ...]:
        """Ask every plugin if it supports the network's version; list the enabled capabilities.

        Raises one CniError that lists all plugins which are missing or do not.
        """
        problems = []
        for plugin in network.plugins:
            try:
                self._require_version(plugin.type, network.cni_version or "0.1.0")
            except CniError as error:
                problems.append(f"{error}")
        if problems:
            raise CniError(f"[{' '.join(problems)}]")
        names = [name for plugin in network.plugins for name in plugin.capabilities]
        return tuple(dict.fromkeys(names))

    def _require_version(self, plugin_type: str, version: str) -> None:
        if version not in self.versions(plugin_type):
            raise CniError(f'plugin {plugin_type} does not support config version "{version}"')

    def versions(self, plugin_type: str) -> tuple[str, ...]:
        """Ask a plugin which versions of the specification it supports. Raises CniError."""
        return self._programs.versions(plugin_type)

    def cached_result(self, network: Network, attachment: Attachment) -> AddResult | None:
        """Read the remembered result in the network's version, None if there is none.

        Raises CniError if it is torn or cannot be converted.
        """
        document = self._cached_document(network, attachment)
        version = network.cni_version or "0.1.0"
        return None if document is None else AddResult(with_version(document, version))

    def cached_attachment(
        self, network: Network, attachment: Attachment
    ) -> CachedAttachment | None:
        """Read what ADD was called with: configuration, and `attachment` with its arguments then.

        None if nothing is remembered. Raises CniError if the file is torn.
        """
        cached = self._cache.read_attachment(owner(network, attachment))
        return cached and merged(cached, attachment)

    def attachments(self, container_id: str = "") -> tuple[CachedAttachment, ...]:
        """List what is attached, of all networks; of one container if its id is given."""
        with suppress(OSError):
            return tuple(self._cache.attachments(container_id))
        return ()

    def _cached_document(self, network: Network, attachment: Attachment) -> Document | None:
        return self._cache.read_result(owner(network, attachment), network.cni_version)

    def _run(
        self,
        network: Network,
        plugin: PluginConf,
        verb: str,
        attachment: Attachment,
        prev_result: Document | None,
    ) -> None:
        programs = self._programs
        file = programs.find(plugin.type)
        stdin = attachment_stdin(network, plugin, attachment.capability_args, prev_result)
        programs.run(file, verb, stdin, attachment)


def nothing(*_args: object, **_kwargs: object) -> None:
    """Take the place of OnFailure where a failure is not to be taken back."""


def owner(network: Network, attachment: Attachment) -> Owner:
    return Owner(network.name, attachment.container_id, attachment.ifname)


def prefix(network: Network, plugin: PluginConf, act: str) -> str:
    """Say which plugin of a list failed; empty for a plugin that is alone."""
    if not network.is_list:
        return ""
    name = f' name="{plugin.name}"' if plugin.name else ""
    return f'plugin type="{plugin.type}"{name} failed ({act})'


def supports(network: Network, what: str) -> bool:
    """Whether the network's version has a part of the specification. Raises DecodingFailure."""
    try:
        return parse_version(network.cni_version) >= SINCE[what]
    except ValueError as error:
        raise DecodingFailure(f'cniVersion of network "{network.name}": {error}') from error


def require_attachable(network: Network, attachment: Attachment) -> None:
    """Raise CniError unless container id, network name and ifname are what plugins accept."""
    if not attachment.container_id:
        raise UnknownContainer("missing containerID")
    require_container_id(attachment.container_id)
    if not network.name:
        raise InvalidNetworkConfig("missing network name")
    if not is_identifier(network.name):
        raise InvalidNetworkConfig("invalid characters found in network name", network.name)
    require_ifname(attachment.ifname)
