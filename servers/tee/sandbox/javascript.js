// What a JavaScript program finds around it, and what turns its value into the sandbox's envelope. Nothing here is a
// wall: a program may change what it likes in its own instance, and the engine checks the envelope again. What is taken
// aside at the top keeps a program from breaking its own result by accident.
(() => {
  "use strict";
  const ask = globalThis.__host;
  delete globalThis.__host;
  const { parse, stringify } = JSON;
  const { isFinite } = Number;
  const { isArray } = Array;
  const { keys, entries, getPrototypeOf, defineProperty, assign } = Object;
  const { floor, max } = Math;
  const run = globalThis.eval;
  const fromCode = String.fromCharCode;
  const job = { limits: {} };

  // --- text and bytes ---------------------------------------------------------------------------------------------
  // By way of strings of bytes, which the interpreter turns into each other in C.
  const whole = (text) => text.toWellFormed();
  const packed = (text) => (/^[\x00-\x7f]*$/.test(text) ? text : unescape(encodeURIComponent(whole(text))));
  const unpacked = (bytes) => (/^[\x00-\x7f]*$/.test(bytes) ? bytes : decodeURIComponent(escape(bytes)));
  const size = (text) => packed(text).length;
  const utf8 = (text) => {
    const bytes = packed(text);
    const out = new Uint8Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) out[i] = bytes.charCodeAt(i);
    return out;
  };
  const text = (bytes) => {
    const parts = [];
    for (let at = 0; at < bytes.length; at += 8192) parts.push(fromCode.apply(null, bytes.subarray(at, at + 8192)));
    try {
      return unpacked(parts.join(""));
    } catch {
      throw new TypeError("the bytes are not UTF-8");
    }
  };
  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const toBase64 = (bytes) => {
    const out = [];
    for (let i = 0; i < bytes.length; i += 3) {
      const n = (bytes[i] << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
      const four = DIGITS[n >> 18] + DIGITS[(n >> 12) & 63] + DIGITS[(n >> 6) & 63] + DIGITS[n & 63];
      out.push(i + 2 < bytes.length ? four : four.slice(0, i + 1 < bytes.length ? 3 : 2).padEnd(4, "="));
    }
    return out.join("");
  };
  const fromBase64 = (encoded) => {
    const bare = encoded.replace(/=+$/, "");
    const out = new Uint8Array(floor((bare.length * 3) / 4));
    for (let i = 0, bits = 0, held = 0, at = 0; i < bare.length; i++) {
      held = ((held << 6) | DIGITS.indexOf(bare[i])) & 0xffffff;
      bits += 6;
      if (bits >= 8) out[at++] = (held >> (bits -= 8)) & 255;
    }
    return out;
  };

  // --- what a program sees ----------------------------------------------------------------------------------------
  class HostError extends Error {
    get name() { return "HostError"; }
  }
  class OutputError extends Error {
    get name() { return "OutputError"; }
  }
  const host = {
    call(name, given = {}) {
      if (typeof name !== "string" || given === null || typeof given !== "object" || isArray(given))
        throw new TypeError("host.call takes a name and an object of arguments");
      const said = ask("ask", name, stringify(given));
      if (said[0] !== "+") throw new HostError(said.slice(1));
      return parse(said.slice(1));
    },
  };

  const given = new Map();
  const tree = new Map();
  const missing = (name) => new Error(`no file ${name}: this sandbox sees only those passed with the call: ${[...tree.keys()].slice(0, 8).join(", ") || "none"}`);
  const files = {
    list: () => [...tree.keys()].sort(),
    bytes(name) {
      if (!tree.has(String(name))) throw missing(name);
      return tree.get(String(name)).slice();
    },
    read: (name) => text(files.bytes(name)),
    write(name, content) {
      tree.set(String(name), typeof content === "string" ? utf8(content) : Uint8Array.from(content));
    },
    remove(name) {
      if (!tree.delete(String(name))) throw missing(name);
    },
  };

  const streams = { out: { text: [], left: 0 }, err: { text: [], left: 0 } };
  let truncated = false;
  const write = (stream, line) => {
    const bytes = packed(line);
    if (bytes.length <= stream.left) stream.text.push(line);
    else {
      truncated = true;
      stream.text.push(unpacked(bytes.slice(0, stream.left).replace(/[\xc0-\xff][\x80-\xbf]*$/, (last) => (last.length < 2 + (last >= "\xe0") + (last >= "\xf0") ? "" : last))));
    }
    stream.left = max(0, stream.left - bytes.length);
  };
  const shown = (value) => {
    if (typeof value === "string") return value;
    if (value instanceof Error) return String(value.stack ? `${value}\n${value.stack}` : value).trimEnd();
    try {
      if (typeof value === "object" && value !== null) return stringify(value) ?? String(value);
      return String(value);
    } catch (e) {
      return `(${e})`;
    }
  };
  const log = (stream) => (...values) => write(stream, values.map(shown).join(" ") + "\n");
  const console = { log: log(streams.out), info: log(streams.out), debug: log(streams.out), warn: log(streams.err), error: log(streams.err) };

  // Timers fire in the order of their time, and time is the call's own: waiting costs none.
  const timers = [];
  let elapsed = 0;
  let numbers = 0;
  const later = (repeat) => (callback, wait = 0, ...rest) => {
    const delay = max(0, Number(wait) || 0);
    timers.push({ id: ++numbers, at: elapsed + delay, callback, rest, repeat: repeat ? max(1, delay) : 0 });
    return numbers;
  };
  const cancel = (id) => {
    const at = timers.findIndex((timer) => timer.id === id);
    if (at >= 0) timers.splice(at, 1);
  };
  const fire = () => {
    if (!timers.length) return false;
    const next = timers.reduce((a, b) => (b.at < a.at ? b : a));
    if (next.at > elapsed) ask("sleep", String(next.at - elapsed));
    elapsed = max(elapsed, next.at);
    if (next.repeat) next.at += next.repeat;
    else cancel(next.id);
    next.callback(...next.rest);
    return true;
  };

  // Four words of the seed: sfc32, good for statistics, and no secret from a program that knows its seed.
  const seeded = (seed) => {
    let [a, b, c, d] = [0, 8, 16, 24].map((at) => parseInt(seed.slice(at, at + 8), 16) | 0);
    const next = () => {
      const t = (((a + b) | 0) + d) | 0;
      d = (d + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + t) | 0;
      return t >>> 0;
    };
    for (let i = 0; i < 15; i++) next();
    return next;
  };

  // --- the value --------------------------------------------------------------------------------------------------
  const HINTS = { Map: "use Object.fromEntries()", Set: "use [...set]", function: "return text, numbers, arrays, objects", bigint: "use String() or Number()", symbol: "use String()" };
  const shortened = (path) => (path.length <= 200 ? path : path.slice(0, 100) + "..." + path.slice(-97));
  let spent = 0;
  const spend = (bytes) => {
    if ((spent += bytes) > job.limits.result_bytes) throw new OutputError(`the result is more than ${job.limits.result_bytes} bytes of JSON, the limit`);
  };
  const refuse = (value, path, kind) => {
    throw new OutputError(`the ${kind} at ${shortened(path)} is not JSON: ${HINTS[kind] ?? "return text, numbers, arrays, objects"}`);
  };
  const plain = (value, path, depth) => {
    if (value !== null && typeof value === "object" && typeof value.toJSON === "function") value = value.toJSON();
    if (value === null || value === undefined) return spend(4), null;
    if (typeof value === "boolean") return spend(4), value;
    if (typeof value === "string") return spend(2 + value.length), value;
    if (typeof value === "number") {
      if (!isFinite(value)) throw new OutputError(`${value} at ${shortened(path)} is not JSON: use null or text`);
      return spend(1), value;
    }
    if (typeof value !== "object") refuse(value, path, typeof value);
    if (value instanceof String || value instanceof Number || value instanceof Boolean) return plain(value.valueOf(), path, depth);
    const kind = getPrototypeOf(value)?.constructor?.name;
    if (value instanceof Map || value instanceof Set || value instanceof Promise || ArrayBuffer.isView(value)) refuse(value, path, kind);
    if (depth >= job.limits.depth) throw new OutputError(`the result is nested deeper than ${job.limits.depth} levels at ${shortened(path)}`);
    spend(2);
    if (isArray(value)) {
      const out = [];
      for (let i = 0; i < value.length; i++) out.push(plain(value[i], `${path}[${i}]`, depth + 1));
      return out;
    }
    const out = {};
    for (const key of keys(value)) {
      if (value[key] === undefined) continue; // as JSON.stringify
      spend(2 + key.length);
      defineProperty(out, key, { value: plain(value[key], `${path}.${key.slice(0, 40)}`, depth + 1), enumerable: true, configurable: true, writable: true });
    }
    return out;
  };

  // --- the steps that the engine takes ----------------------------------------------------------------------------
  const clean = (value, most) => whole(value.slice(0, most));
  const envelope = (told) => stringify({
    status: "ok", value: null, error: null, files: {}, truncated,
    stdout: whole(streams.out.text.join("")), stderr: whole(streams.err.text.join("")), ...told,
  });
  const failed = (e) => {
    if (e instanceof OutputError) return envelope({ status: "output", error: { type: "OutputError", message: e.message, traceback: "" } });
    let type = "Error";
    let message = "";
    let stack = "";
    try {
      if (e instanceof Error) [type, message, stack] = [String(e.name), String(e.message), String(e.stack ?? "")];
      else [type, message] = ["Thrown", shown(e)];
    } catch {
      message = "(its message failed)";
    }
    if (type === "InternalError" && message === "out of memory")
      return envelope({ status: "memory", error: { type: "MemoryError", message: `the program needs more than the ${job.limits.memory_bytes >>> 20} MiB of memory it may use`, traceback: "" } });
    const own = stack.split("\n").filter((line) => !/\(native\)|:1\d{5}:/.test(line)).map((line) => line.replace("eval_script", "tool.js")).join("\n");
    const traceback = clean(`${type}: ${message}`, 8192) + "\n" + clean(own, 8192);
    return envelope({ status: "error", error: { type: clean(type, 200), message: clean(message, 4096), traceback } });
  };
  const changed = () => {
    const out = {};
    let bytes = 0;
    for (const name of [...tree.keys()].sort()) {
      const data = tree.get(name);
      const before = given.get(name);
      if (before && before.length === data.length && before.every((byte, i) => byte === data[i])) continue;
      bytes += data.length;
      if (bytes > job.limits.files_bytes) throw new OutputError(`the files the program wrote are more than ${job.limits.files_bytes} bytes together, the limit`);
      out[name] = toBase64(data);
    }
    return out;
  };
  const done = (value) => {
    try {
      const copy = plain(value, "$", 0);
      const bytes = size(stringify(copy));
      if (bytes > job.limits.result_bytes) throw new OutputError(`the result is ${bytes} bytes of JSON; the limit is ${job.limits.result_bytes}`);
      return envelope({ value: copy, files: changed() });
    } catch (e) {
      return failed(e);
    }
  };
  let settled = null;
  const steps = {
    start(request) {
      assign(job, parse(request));
      if (!job.limits) job.limits = {}; // the worker's own warming up
      streams.out.left = streams.err.left = job.limits.output_bytes ?? 0;
      for (const [name, data] of entries(job.files ?? {})) {
        given.set(name, fromBase64(data));
        tree.set(name, fromBase64(data));
      }
      const next = seeded(job.seed ?? "");
      Math.random = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
      const offered = {
        console, host, files, setTimeout: later(false), setInterval: later(true), clearTimeout: cancel, clearInterval: cancel,
        TextEncoder: class TextEncoder { encode(value = "") { return utf8(String(value)); } },
        TextDecoder: class TextDecoder { decode(bytes = []) { return text(bytes); } },
        ...job.arguments,
      };
      for (const [name, value] of entries(offered)) defineProperty(globalThis, name, { value, configurable: true, writable: true });
      return job.code ?? "";
    },
    finish(value) {
      try {
        const main = run("typeof main === 'function' ? main : undefined");
        const result = main === undefined ? value : main(job.arguments);
        if (!(result instanceof Promise)) return done(result);
        result.then((v) => { settled = done(v); }, (e) => { settled = failed(e); });
        return "";
      } catch (e) {
        return failed(e);
      }
    },
    turn() {
      try {
        if (settled !== null || fire()) return settled ?? "";
      } catch (e) {
        return failed(e);
      }
      return failed(new Error("the promise is never settled: nothing is left that could do it"));
    },
    failed,
  };
  return (step, value) => steps[step](value);
})();
