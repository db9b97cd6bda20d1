"""The standard library as of the build: loaded here, and closed afterwards."""

import contextlib
import encodings
import importlib
import importlib.abc
import linecache
import os
import pkgutil
import sys
import zoneinfo
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from typing import Any, NoReturn

# What a tool that handles data may want. Modules without a use here (asyncio, http, tkinter ...) stay out.
OFFERED = tuple(
    """
    abc argparse array ast base64 binascii bisect builtins calendar cmath codecs collections collections.abc
    colorsys configparser contextlib contextvars copy copyreg csv dataclasses datetime decimal difflib dis email
    email.message email.mime.multipart email.mime.text email.parser email.policy email.utils enum errno filecmp
    fnmatch fractions functools gc genericpath glob graphlib gzip hashlib heapq hmac html html.entities html.parser
    importlib importlib.metadata importlib.resources inspect io ipaddress itertools json keyword linecache locale
    logging marshal math mimetypes numbers opcode operator os os.path pathlib pickle pkgutil platform plistlib
    posixpath pprint queue quopri random re reprlib sched secrets shlex shutil stat statistics string
    string.templatelib stringprep struct sys tarfile tempfile textwrap threading time timeit token tokenize tomllib
    traceback types typing unicodedata unittest urllib urllib.parse uuid warnings weakref
    xml.dom.minidom xml.etree.ElementTree xml.parsers.expat xml.sax xml.sax.saxutils zipfile zlib zoneinfo
    """.split()  # noqa: SIM905  one name per line would be 130 lines
)
_NO_NETWORK = {"_socket", "aiohttp", "ftplib", "http", "httpx", "requests", "select", "selectors", "smtplib", "socket"}
_NO_NETWORK |= {"socketserver", "ssl", "urllib3", "asyncio", "urllib.error", "urllib.request", "urllib.response"}
_NO_PROCESS = {"_signal", "concurrent", "multiprocessing", "signal", "subprocess"}


class Refuser(importlib.abc.MetaPathFinder):
    """First of the finders: only what is loaded can be imported."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        top = fullname.partition(".")[0]
        if path is None and top in sys.builtin_module_names and top not in _NO_NETWORK | _NO_PROCESS:
            return None  # compiled in: the next finder has it
        if {top, fullname} & _NO_NETWORK:
            why = "this sandbox has no network and no event loop"
        elif top in _NO_PROCESS or top.startswith("_pyrepl"):
            why = "this sandbox has no processes, signals or pools of workers"
        else:
            names = sorted({name.partition(".")[0] for name in OFFERED})
            why = f"the modules of this sandbox are fixed, and packages cannot be installed: {', '.join(names)}"
        text = f"No module named {fullname!r}: {why}"
        raise ModuleNotFoundError(text, name=fullname)


def load() -> None:
    """Import all that is offered, with the text encodings; an absent one fails the build."""
    for name in OFFERED:
        importlib.import_module(name)
    for found in pkgutil.iter_modules(encodings.__path__):
        with contextlib.suppress(ImportError):  # those of one operating system, or of a library that is not built in
            importlib.import_module(f"encodings.{found.name}")


def close() -> None:
    """From here on nothing is looked for in a file system."""
    for name in list(sys.modules):
        if {name, name.partition(".")[0]} & (_NO_NETWORK | _NO_PROCESS):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if parent == "urllib":
                delattr(sys.modules[parent], child)
    sys.meta_path[:] = [Refuser(), *(f for f in sys.meta_path if getattr(f, "__name__", "") != "PathFinder")]
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    linecache.cache.clear()
    # Lines of the standard library are not there to show; asking for them must not look for a file.
    linecache.updatecache = lambda filename, module_globals=None: []  # type: ignore[assignment]  # noqa: ARG005
    zoneinfo.reset_tzpath(to=())

    def no_time_zones(key: str) -> NoReturn:
        text = f"no time zone {key!r}: this sandbox has no time zone data; use datetime.timezone with a fixed offset"
        raise zoneinfo.ZoneInfoNotFoundError(text)

    zoneinfo._common.load_tzdata = no_time_zones  # type: ignore[attr-defined]
    os.environ.clear()
