"""Figures. Only this package imports matplotlib; its environment is set here."""

import os

from jaxnets import files as _files

# matplotlib keeps its list of fonts in this folder, by default below the home folder.
if "MPLCONFIGDIR" not in os.environ:
    os.environ["MPLCONFIGDIR"] = str(
        _files.writable(_files.cache_root() / "matplotlib")
    )
