"""Which file a plugin's type is, along CNI_PATH."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cnicore.errors import CniError
from cnicore.spec import require_plugin_type


def find_plugin_file(plugin_type: str, directories: Sequence[str]) -> str:
    """The first regular file of that name in the directories.

    As in the reference it need not be executable. Raises CniError when the type is no file name or
    nothing is found; the message lists where it was looked for.
    """
    require_plugin_type(plugin_type)
    if not any(directories):
        raise CniError("no paths provided: set CNI_PATH to the directories that hold the plugins")
    for directory in directories:
        file = os.path.join(directory, plugin_type)
        if os.path.isfile(file):
            return file
    raise CniError(f'failed to find plugin "{plugin_type}" in path [{" ".join(directories)}]')
