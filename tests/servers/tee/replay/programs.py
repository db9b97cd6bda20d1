"""Programs that ordinarily differ from run to run, generated."""

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Json = dict[str, Any]
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
_SMALL = st.floats(min_value=-1e6, max_value=1e6)
_WHOLE = st.integers(-(10**12), 10**12)
_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
_NAMES = st.text("abcdefghij", min_size=1, max_size=6)
_COUNT = st.integers(1, 40)

# Each adds to `out`. Lists in the value, since the order of what they say is the point.
_STEPS = st.one_of(
    st.builds(
        "out.append([math.sin({0!r}), math.exp(-abs({0!r}) % 7), {0!r} ** 3, math.fsum([0.1] * {1})])".format,
        _SMALL,
        _COUNT,
    ),
    st.builds("out.append([{0!r} * 1.1, {0!r} / 3, repr({0!r}), math.frexp({0!r}), {0!r}.hex()])".format, _NUMBERS),
    st.builds("out.append(list(set({0!r})) + list(frozenset({0!r})))".format, st.lists(_TEXT, max_size=9)),
    st.builds("out.append(list(dict.fromkeys({0!r}).items() | {{(1, 2)}}))".format, st.lists(_NAMES, max_size=6)),
    st.builds("out.append([hash({0!r}), hash(({0!r}, 1.5)), id(object()) % 10**9, repr(object())])".format, _TEXT),
    st.builds("out.append([random.random(), random.sample(range(1000), {0}), random.gauss(0, 1)])".format, _COUNT),
    st.builds("random.seed({0}); out.append([random.getrandbits(64), random.choice('abc')])".format, _WHOLE),
    st.just("out.append([secrets.token_hex(4), str(uuid.uuid4()), os.urandom(3).hex(), uuid.uuid1().int])"),
    st.builds("time.sleep({0}); out.append([time.time(), time.perf_counter_ns(), time.monotonic()])".format, _COUNT),
    st.just("out.append([str(datetime.datetime.now()), str(datetime.date.today()), time.ctime(), time.localtime()])"),
    st.builds("out.append(str(decimal.Decimal({0}) / 7 ** decimal.Decimal('0.5')))".format, _WHOLE),
    st.builds("decimal.getcontext().prec = {0}; out.append(str(decimal.Decimal(2).sqrt()))".format, _COUNT),
    st.builds("out.append(str(fractions.Fraction({0!r}).limit_denominator(1000)))".format, _SMALL),
    st.builds("open({0!r}, 'a').write({1!r}); out.append(open({0!r}).read())".format, _NAMES, _TEXT),
    st.builds("pathlib.Path({0!r} + '.bin').write_bytes(random.randbytes({1}))".format, _NAMES, _COUNT),
    st.builds("out.append([sorted(os.listdir('.')), tempfile.mkdtemp(), os.getpid()])".format),
    st.builds("print({0!r} * {1}); print({1}, file=sys.stderr)".format, _TEXT, _COUNT),
    st.builds("out.append({0} ** {1} % (10 ** 40 + 7))".format, _WHOLE, _COUNT),
    st.builds("out.append(sorted(re.findall(r'[a-c]+|.', {0!r} * {1})))".format, _TEXT, _COUNT),
    st.builds("out.append(json.loads(json.dumps({{'a': {0!r}, 'b': [{1!r}]}})))".format, _NUMBERS, _TEXT),
    st.builds("out.append(hashlib.sha256({0!r}.encode() * {1}).hexdigest())".format, _TEXT, _COUNT),
    st.builds("out.append([list(itertools.islice(itertools.permutations(range(5)), {0}))])".format, _COUNT),
    st.builds("try:\n        int({0!r} + 'x')\n    except ValueError as e:\n        out.append(str(e))".format, _TEXT),
    st.builds("def deep(n): return 0 if n == 0 else 1 + deep(n - 1)\n    out.append(deep({0} * 10))".format, _COUNT),
    st.builds("out.append([word, argument, open('given').read()])".format),
)
_ENDS = st.sampled_from(
    [
        "return out",
        "return out",
        "return {'out': out, 'set': sorted({1.5, 2, 3})}",
        "return {1, 2, 3}",  # no JSON
        "return float('nan')",
        "raise ValueError(out)",
        "raise KeyError(object())",
        "return 1 / 0",
        "while True: out.append(len(out))",
        "while True: pass",
        "def f(n): return f(n + 1)\n    return f(0)",
        "return bytearray(10 ** 9)",
        "sys.exit(3)",
        "os._exit(0)",
        "import threading; threading.Thread(target=print).start()",
        "import queue; return queue.Queue().get(timeout=1)",
        "print('x' * 10 ** 6)",
        "import no_such_module",
        "return ][",
    ]
)
_IMPORTS = (
    "import datetime, decimal, fractions, hashlib, itertools, json, math, os, pathlib, random, re, secrets, sys\n"
    "import tempfile, time, uuid\n"
)


@st.composite
def _calls(draw: st.DrawFn) -> Json:
    steps = draw(st.lists(_STEPS, min_size=1, max_size=5))
    body = "\n    ".join([*steps, draw(_ENDS)])
    code = f"{_IMPORTS}def main(word, argument):\n    out = []\n    {body}\n"
    arguments = {"word": draw(_TEXT), "argument": draw(st.one_of(_WHOLE, _NUMBERS, st.lists(_TEXT, max_size=3)))}
    return {"code": code, "arguments": arguments, "files": {"given": draw(_TEXT)}}


def generated(count: int) -> list[Json]:
    """Arguments of `run_python`, the same ones every time."""
    found: list[Json] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(_calls())
    def collect(call: Json) -> None:
        found.append(call)

    collect()
    return found
