"""`${NAME}` in a configuration: the spellings of the clients, filled in from an environment that the caller gives."""

import re
from collections.abc import Mapping

# Claude Code writes ${NAME} and ${NAME:-default}, VS Code and Cursor ${env:NAME}.
_NAMED = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
# What only a client can answer: ${input:token} asks its user, ${config:a.b} reads its settings.
_CLIENTS = re.compile(r"\$\{((?:input|command|config):[^}]*)\}")


class Unset(Exception):
    """The text names a variable that has no value here; the message names it and says what to do."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with each `${NAME}` and `${env:NAME}` replaced by its value, and `${NAME:-default}` by `default` where
    NAME is unset or empty. A value is not looked into again. Anything else with a dollar, such as `$NAME`, stays.

    Raises `Unset`, which never holds a value.
    """
    if asked := _CLIENTS.search(text):
        raise Unset(f"${{{asked[1]}}} is filled in by an editor; name a variable of the environment instead")

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise Unset(f"the variable {name} is not set; set it, or write ${{{name}:-}} where it may be empty")
        return environ[name]

    return _NAMED.sub(value, text)
