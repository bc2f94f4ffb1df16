// Functions for scripts, on top of the host's. Scripts are written by models, who write for node: so
// there is what of node makes sense here, and shorter words beside it.
(() => {
  const ask = (name, input) => JSON.parse(host.call(name, JSON.stringify(input ?? {})));
  const print = host.print;
  const show = (value) => {
    if (typeof value === "string") return value;
    if (value instanceof Error) return String(value);
    if (typeof value === "function") return `[function ${value.name}]`;
    if (value instanceof Map) return show([...value]);
    if (value instanceof Set) return show([...value]);
    const text = JSON.stringify(value);
    return text === undefined ? String(value) : text;
  };
  const path_of = (path) => {
    if (path && typeof path === "object" && typeof path.path === "string") path = path.path;
    if (typeof path !== "string") throw new TypeError(`a path must be a string, and is ${show(path)}`);
    return path;
  };
  const failure = (code, message) => Object.assign(new Error(`${code}: ${message}`), { code });
  const stat = (path) => ask("stat", { path: path_of(path) });
  // A value that is missing shows as one of these words in the place of a value, where only a program has them.
  const text_of = (text, path) => {
    const shown = typeof text === "string" ? text : show(text);
    const odd = /\[object Object\]|(?:^|[:,;\t]) ?(?:undefined|NaN)(?= *$|[,;\t])/m.exec(shown);
    if (!odd || /\.[cm]?[jt]sx?$/.test(path) || known(odd[0].replace(/^[:,;\t]? ?/, ""))) return shown;
    throw new TypeError(
      `the text for ${path} has ${odd[0].replace(/^[:,;\t]? ?/, "")} in it, so a value is missing or has another form than the script takes it to have; it begins ${JSON.stringify(shown.slice(0, 80))}`,
    );
  };
  // Whether a text that was read has the word: then the script only passes it on.
  const seen = [];
  const known = (word) => seen.some((text) => text.includes(word));
  const content = (path) => {
    if (/[*?{]/.test(path_of(path)) && stat(path) === null)
      throw new TypeError(`${path_of(path)} is a pattern, and one file is read at a time: for (const path of list(${JSON.stringify(path)})) { … }`);
    const text = ask("read", { path: path_of(path) });
    if (/undefined|NaN|\[object Object\]/.test(text)) seen.push(text);
    return text;
  };

  const text = {
    list: (glob) =>
      ask("list", glob === undefined || glob === "." || glob === "" ? { path: ".", recursive: true } : listing(glob))
        .filter((one) => !one.folder)
        .map((one) => one.path),
    read: content,
    lines: (path) => {
      const text = content(path);
      if (text === "") return [];
      return text.replace(/\r?\n$/, "").split(/\r?\n/);
    },
    csv: (path) => {
      const [head, ...rows] = text.lines(path).filter((line) => line.trim() !== "");
      const separator = [",", ";", "\t"].find((one) => head?.includes(one)) ?? ",";
      const names = cells(head ?? "", separator);
      return rows.map((row) => Object.fromEntries(cells(row, separator).map((cell, at) => [names[at] ?? at, value_of(cell)])));
    },
    write: (path, content) => void ask("write", { path: path_of(path), text: text_of(content, path) }),
    append: (path, content) => void ask("write", { path: path_of(path), text: text_of(content, path), append: true }),
    move: (from, to) => void ask("move", { from: path_of(from), to: into(from, to) }),
    copy: (from, to) => void ask("copy", { from: path_of(from), to: into(from, to) }),
    remove: (path) => void ask("remove", { path: path_of(path), recursive: true }),
    exists: (path) => stat(path) !== null,
    print: (...values) => print(values.map(show).join(" ")),
  };
  // A row of a table (RFC 4180, but for line breaks within cells).
  function cells(row, separator) {
    const found = [""];
    let quoted = false;
    for (let at = 0; at < row.length; at++) {
      const c = row[at];
      if (c === '"' && quoted && row[at + 1] === '"') found[found.length - 1] += row[at++];
      else if (c === '"') quoted = !quoted;
      else if (c === separator && !quoted) found.push("");
      else found[found.length - 1] += c;
    }
    return found.map((cell) => cell.trim());
  }
  // What has zeros in front is a code; what is written as JavaScript would write it, or with decimals, a number.
  function value_of(cell) {
    return /^-?(0|[1-9]\d{0,14})(\.\d+)?$/.test(cell) ? Number(cell) : cell;
  }
  function listing(glob) {
    if (/[*?\[{]/.test(glob)) return { path: ".", recursive: true, glob };
    return { path: glob, recursive: true };
  }
  // A thing is moved into a folder that is there under its own name.
  function into(from, to) {
    const target = path_of(to);
    if (target.endsWith("/") || stat(target)?.folder) return `${target.replace(/\/+$/, "")}/${path.basename(path_of(from))}`;
    return target;
  }

  const path = {
    sep: "/",
    basename: (name, end = "") => {
      const last = String(name).replace(/\/+$/, "").split("/").pop();
      return end && last !== end && last.endsWith(end) ? last.slice(0, -end.length) : last;
    },
    dirname: (name) => {
      const at = String(name).replace(/\/+$/, "").lastIndexOf("/");
      return at < 0 ? "." : at === 0 ? "/" : name.slice(0, at);
    },
    extname: (name) => {
      const last = path.basename(name);
      const at = last.lastIndexOf(".");
      return at <= 0 ? "" : last.slice(at);
    },
    normalize: (name) => {
      const parts = [];
      for (const part of String(name).split("/")) {
        if (part === "..") parts.length && parts.at(-1) !== ".." ? parts.pop() : parts.push("..");
        else if (part !== "" && part !== ".") parts.push(part);
      }
      return (String(name).startsWith("/") ? "/" : "") + (parts.join("/") || (String(name).startsWith("/") ? "" : "."));
    },
    join: (...parts) => path.normalize(parts.filter((part) => part !== "").join("/")),
    // The workspace is where everything is.
    resolve: (...parts) => path.normalize(parts.join("/")),
    relative: (from, to) => {
      const [a, b] = [from, to].map((name) => path.normalize(name).split("/").filter((part) => part !== "."));
      while (a.length && b.length && a[0] === b[0]) a.shift(), b.shift();
      return [...a.map(() => ".."), ...b].join("/");
    },
    isAbsolute: (name) => String(name).startsWith("/"),
    parse: (name) => {
      const base = path.basename(name), ext = path.extname(name);
      return { root: "", dir: path.dirname(name), base, ext, name: ext ? base.slice(0, -ext.length) : base };
    },
  };

  const stats = (is) => ({
    size: is.size ?? 0,
    isFile: () => !is.folder,
    isDirectory: () => !!is.folder,
    isSymbolicLink: () => false,
  });
  const buffer = (content) =>
    Object.assign(new String(content), { toString: () => content, toJSON: () => content });
  const fs = {
    readFileSync: (path, options) => {
      if (stat(path) === null && !/[*?{]/.test(path)) throw failure("ENOENT", `no such file or directory, open '${path}'`);
      const content = text.read(path);
      return options ? content : buffer(content);
    },
    writeFileSync: (path, content) => text.write(path, content instanceof String ? content.toString() : content),
    appendFileSync: (path, content) => text.append(path, content instanceof String ? content.toString() : content),
    existsSync: (path) => text.exists(path),
    statSync: (path) => {
      const is = stat(path);
      if (is === null) throw failure("ENOENT", `no such file or directory, stat '${path}'`);
      return stats(is);
    },
    readdirSync: (path, options = {}) => {
      const folder = path_of(path ?? ".");
      if (stat(folder) === null) throw failure("ENOENT", `no such file or directory, scandir '${folder}'`);
      const start = folder === "." || folder === "./" || folder === "" ? "" : `${folder.replace(/^\.\//, "").replace(/\/+$/, "")}/`;
      const found = ask("list", { path: folder, recursive: !!options.recursive });
      return found.map((one) => {
        const name = one.path.startsWith(start) ? one.path.slice(start.length) : one.path;
        if (!options.withFileTypes) return name;
        return { name, path: folder, parentPath: folder, ...stats(one) };
      });
    },
    mkdirSync: (path) => void ask("folder", { path: path_of(path) }),
    unlinkSync: (path) => void ask("remove", { path: path_of(path) }),
    rmdirSync: (path, options = {}) => void ask("remove", { path: path_of(path), recursive: !!options.recursive }),
    rmSync: (path, options = {}) => {
      if (options.force && stat(path) === null) return;
      ask("remove", { path: path_of(path), recursive: !!options.recursive });
    },
    renameSync: (from, to) => {
      // A file takes the place of another, as in node.
      if (stat(to) && !stat(to).folder && !stat(from)?.folder) ask("remove", { path: path_of(to) });
      ask("move", { from: path_of(from), to: path_of(to) });
    },
    copyFileSync: (from, to) => void ask("copy", { from: path_of(from), to: path_of(to) }),
    cpSync: (from, to) => void ask("copy", { from: path_of(from), to: path_of(to) }),
    accessSync: (path) => void fs.statSync(path),
  };
  fs.lstatSync = fs.statSync;
  fs.promises = {};
  for (const name of Object.keys(fs).filter((name) => name.endsWith("Sync"))) {
    const plain = name.slice(0, -4);
    const sync = fs[name];
    fs.promises[plain] = async (...args) => sync(...args);
    // With a callback behind the arguments, as old node does it.
    fs[plain] = (...args) => {
      const callback = typeof args.at(-1) === "function" ? args.pop() : () => {};
      let result;
      try {
        result = sync(...args);
      } catch (error) {
        return callback(error);
      }
      return plain === "exists" ? callback(result) : callback(null, result);
    };
  }

  const modules = { fs, path, "fs/promises": fs.promises, os: { EOL: "\n" }, process: undefined };
  const console = {};
  for (const name of ["log", "info", "warn", "error", "debug"]) console[name] = text.print;
  console.table = (rows) => text.print(rows);
  const process = { cwd: () => ".", argv: ["node", "script.js"], env: {}, platform: "linux", stdout: { write: (line) => print(String(line).replace(/\n$/, "")) } };
  process.exit = () => {
    throw new Error("process.exit is not needed: let the script end");
  };
  modules.process = process;
  const require = (name) => {
    const module = modules[String(name).replace(/^node:/, "")];
    if (module) return module;
    throw new Error(`there is no module "${name}" here, only fs and path; a script starts no programs and has no network`);
  };
  Object.assign(globalThis, text, { console, process, require, fs, path, __dirname: ".", module: { exports: {} }, exports: {} });
  const now = () => ask("now");
  const RealDate = Date;
  globalThis.Date = class Date extends RealDate {
    constructor(...args) {
      args.length ? super(...args) : super(now());
    }
    static now() {
      return now();
    }
  };
})();
