"""Run one program: its value, its output, and its error told in its own lines."""

import ast
import gc
import io
import linecache
import sys
import traceback
import types
from typing import Any

FILENAME = "tool.py"
_MESSAGE = 4 << 10  # characters of an error message, and below of a traceback
_TRACEBACK = 16 << 10


class Capture(io.TextIOWrapper):
    """Standard output or error: keeps the first `limit` bytes and swallows the rest."""

    def __init__(self, limit: int) -> None:
        self._kept = _Kept(limit)
        super().__init__(self._kept, "utf-8", "backslashreplace", newline="", write_through=True)

    def kept(self) -> tuple[str, bool]:
        """What was kept, and whether anything was swallowed."""
        return bytes(self._kept.data).decode("utf-8", "ignore"), self._kept.truncated


class _Kept(io.RawIOBase):
    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.truncated = False
        self._limit = limit

    def writable(self) -> bool:
        return True

    def write(self, buffer: Any) -> int:
        part = bytes(buffer)
        room = self._limit - len(self.data)
        self.data += part[:room]
        self.truncated = self.truncated or len(part) > room
        return len(part)


def run(code: str, arguments: dict[str, Any]) -> Any:
    """The value of the program: what `main(**arguments)` returns, or that of its last expression, or None."""
    try:
        return _run(code, arguments)
    except SystemExit as e:
        if e.code in (None, 0):
            return None
        raise


def _run(code: str, arguments: dict[str, Any]) -> Any:
    tree = ast.parse(code, FILENAME)
    has_main = "main" in _top_level_names(tree)
    # With a `main` of its own the program is a module that we call; without one it is a script.
    module = types.ModuleType("tool" if has_main else "__main__")
    module.__file__ = FILENAME
    sys.modules[module.__name__] = module
    scope = vars(module)
    if not has_main:
        scope.update(arguments)
    last = tree.body.pop() if not has_main and tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, FILENAME, "exec", dont_inherit=True), scope)  # noqa: S102  this is what a sandbox is for
    if last is not None:
        return eval(compile(ast.Expression(last.value), FILENAME, "eval", dont_inherit=True), scope)  # noqa: S307
    if not has_main:
        return None
    value = scope["main"](**arguments)
    if isinstance(value, types.CoroutineType):
        value.close()
        raise TypeError("main is async: this sandbox has no event loop, define it with plain def")
    return value


def _top_level_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
            case _:
                pass
    return names


def show_source(code: str) -> None:
    """Let tracebacks quote the program's lines."""
    linecache.cache[FILENAME] = (len(code), None, code.splitlines(keepends=True), FILENAME)


def describe(error: BaseException) -> dict[str, str]:
    """Type, message and traceback, the latter of the program's own frames only. Never raises."""
    name = type(error).__name__
    try:
        message = str(error)
    except BaseException as e:  # noqa: BLE001  the program may define __str__
        message = f"(its message failed: {type(e).__name__})"
    try:
        story = traceback.TracebackException.from_exception(error, limit=-50)
        _own_frames(story, 20)
        text = "".join(story.format())
    except BaseException:  # noqa: BLE001  the same
        text = f"{name}: {message}\n"
    if len(text) > _TRACEBACK:
        text = f"{text[: _TRACEBACK // 2]}\n...\n{text[-_TRACEBACK // 2 :]}"
    return {"type": _clean(name[:200]), "message": _clean(message[:_MESSAGE]), "traceback": _clean(text)}


def forget(error: BaseException) -> None:
    """Give back the memory that a failed program still holds."""
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None
    for name in ("__main__", "tool"):
        if name in sys.modules:
            vars(sys.modules[name]).clear()
    gc.collect()


def _own_frames(story: traceback.TracebackException, depth: int) -> None:
    story.stack[:] = [frame for frame in story.stack if frame.filename == FILENAME]
    if depth:
        for inner in (story.__cause__, story.__context__, *(story.exceptions or ())):
            if inner is not None:
                _own_frames(inner, depth - 1)


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
