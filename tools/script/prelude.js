// Functions for scripts, on top of the host's. Scripts are written by models, who write for node: so
// there is what of node makes sense here, and shorter words beside it.
(() => {
  const ask = (name, input) => {
    try {
      return JSON.parse(host.call(name, JSON.stringify(input ?? {})));
    } catch (error) {
      // What is said to one who calls other tools is no help to a program.
      error.message = error.message.replace(/; use \w+ \{.*$/, "") + (/^there is no /.test(error.message) ? there_are() : "");
      throw error;
    }
  };
  function there_are() {
    const paths = JSON.parse(host.call("list", JSON.stringify({ path: ".", recursive: true }))).filter((one) => !one.folder).map((one) => one.path);
    const few = paths.slice(0, 12).join(", ");
    return paths.length === 0 ? "; there are no files" : `; there are: ${few}${paths.length > 12 ? ` and ${paths.length - 12} more` : ""}`;
  }
  const print = host.print;
  const show = (value) => {
    if (typeof value === "string") return value;
    if (value instanceof Error) return String(value);
    if (typeof value === "number") return String(value);
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

  // Whether a path is a pattern of paths, and not one that is there.
  const is_pattern = (path) => /[*?{]/.test(path) && stat(path) === null;
  // The paths that one means, which may be a pattern.
  function each(path) {
    path = path_of(path);
    if (!is_pattern(path)) return [path];
    const found = text.list(path);
    if (found.length === 0) throw new Error(`no file matches ${path}`);
    return found;
  }
  // What is written to a file: lines are joined, and the last line has an end, unless the file had none.
  function whole(path, content) {
    if (Array.isArray(content) && content.every((line) => typeof line === "string" || typeof line === "number")) content = content.join("\n");
    content = text_of(content, path);
    if (content === "" || content.endsWith("\n")) return content;
    const had = stat(path) && !stat(path).folder ? ask("read", { path }) : "\n";
    return had === "" || had.endsWith("\n") ? content + "\n" : content;
  }
  // JSON keeps the indentation that its file had.
  function indented(path, content) {
    if (!/\.json$/.test(path) || !stat(path)) return content;
    const indent = /^[[{]\r?\n([ \t]+)/.exec(ask("read", { path }))?.[1];
    if (indent === undefined) return content;
    try {
      return JSON.stringify(JSON.parse(content), null, indent);
    } catch {
      return content;
    }
  }

  const text = {
    list: (glob) => {
      if (glob === undefined || glob === "." || glob === "") return files({ path: ".", recursive: true });
      if (!/[*?\[{]/.test(glob)) {
        const there = stat(glob);
        if (there === null) throw new Error(`there is no folder ${glob}${there_are()}`);
        if (!there.folder) return text.lines(glob);
        return files({ path: glob, recursive: true });
      }
      const [, above] = /^\/?([^*?\[{]+)\//.exec(glob) ?? [];
      if (above && stat(above) === null) throw new Error(`there is no folder ${above}${there_are()}`);
      const deep = { path: ".", recursive: true, glob };
      // A name alone means the folder itself; where it has no such file, those inside.
      const here = glob.includes("/") ? [] : files({ ...deep, glob: `/${glob}` });
      const found = here.length ? here : files(deep);
      const [, folder, name] = /^([^*?\[{]*\/)(\*[^*\/]*)$/.exec(glob) ?? [];
      const inside = folder ? files({ ...deep, glob: `${folder}**/${name}` }).filter((path) => !found.includes(path)) : [];
      if (inside.length) print(`(${glob} leaves out what is in the folders inside: ${inside.slice(0, 5).join(", ")}; ${folder}**/${name} has it too)`);
      return found;
    },
    // Without the end of the last line, which `write` puts back: so a text can be cut into its lines and added to.
    read: (path) => content(path).replace(/\r?\n$/, ""),
    lines: (path) => {
      const text = content(path);
      if (text === "") return [];
      return text.replace(/\r?\n$/, "").split(/\r?\n/);
    },
    csv: (path) => {
      const [head, ...rows] = text.lines(path).filter((line) => line.trim() !== "");
      const separator = [",", ";", "\t"].find((one) => head?.includes(one));
      if (separator === undefined && !/\.[ct]sv$/.test(path_of(path))) throw new TypeError(`${path_of(path)} is no table, as its first line has no commas; use lines(path)`);
      const names = cells(head ?? "", separator ?? ",");
      return rows.map((row) => Object.fromEntries(cells(row, separator ?? ",").map((cell, at) => [names[at] ?? at, value_of(cell)])));
    },
    write: (path, content) => {
      path = path_of(path);
      ask("write", { path, text: whole(path, indented(path, content)) });
    },
    append: (path, content) => {
      path = path_of(path);
      const had = stat(path) ? ask("read", { path }) : "";
      const gap = had === "" || had.endsWith("\n") ? "" : "\n";
      ask("write", { path, text: gap + whole(path, content).replace(/\n?$/, "\n"), append: true });
    },
    replace: (path, old, then) => change(path, old, then, false),
    replaceAll: (path, old, then) => change(path, old, then, true),
    move: (from, to) => {
      const many = is_pattern(path_of(from));
      for (const path of each(from)) ask("move", { from: path, to: into(path, to, many) });
    },
    copy: (from, to) => {
      const many = is_pattern(path_of(from));
      for (const path of each(from)) ask("copy", { from: path, to: into(path, to, many) });
    },
    remove: (path) => {
      for (const one of each(path)) ask("remove", { path: one, recursive: true });
    },
    exists: (path) => stat(path) !== null,
    print: (...values) => {
      const shown = values.map(show).join(" ");
      print(shown);
      if (/\b(undefined|NaN)\b|\[object Object\]/.test(shown) && !known(/undefined|NaN|\[object Object\]/.exec(shown)[0])) print("(so a value is missing there, or has another form than the program takes it to have)");
    },
  };
  // Changes the one place of a file that says `old`, or all; gives how many files that were.
  function change(path, old, then, all) {
    let count = 0;
    const paths = each(path);
    const pattern = pattern_of(old);
    for (const path of paths) {
      const had = content(path);
      const places = [...had.matchAll(pattern)].length;
      const replacement = typeof then === "function" || old instanceof RegExp ? then : () => text_of(then, path);
      const once = all ? pattern : new RegExp(pattern.source, pattern.flags.replace("g", ""));
      const has = places > 0 ? had.replace(once, replacement) : otherwise_spaced(path, had, old, then);
      if (has === null) continue;
      count++;
      ask("write", { path, text: has });
      if (places > 1 && !all) print(`(${path} said ${show_of(old)} in ${places} places: ${lines_with(had, once)}; only the first was changed, and replaceAll changes all)`);
    }
    if (count === 0) throw new Error(`${show(paths.length === 1 ? paths[0] : path)} has no ${show_of(old)}${paths.length === 1 ? near(paths[0], old) : ""}`);
    return count;
  }
  // With the one place changed that says `old` but for its white space, which stays what it is; null if there is none, or
  // if there are several, or if the words that come in its stead are more or less, so that it is not known what is between.
  function otherwise_spaced(path, had, old, then) {
    if (typeof old !== "string" || typeof then !== "string") return null;
    const [before, after] = [old, text_of(then, path)].map((text) => text.trim().split(/\s+/));
    if (before.length < 2 || before.length !== after.length) return null;
    const places = [...had.matchAll(new RegExp(before.map(literal).join("(\\s+)"), "g"))];
    if (places.length !== 1) return null;
    const [[found, ...spaces]] = places;
    const put = after.map((word, at) => word + (spaces[at] ?? "")).join("");
    return had.replace(found, () => put);
  }
  function show_of(old) {
    return old instanceof RegExp ? String(old) : JSON.stringify(old);
  }
  function pattern_of(old) {
    if (old instanceof RegExp) return old.global ? old : new RegExp(old.source, `${old.flags}g`);
    if (typeof old !== "string" || old === "") throw new TypeError(`replace(path, before, after) takes two texts, and before is ${show(old)}`);
    return new RegExp(literal(old), "g");
  }
  // A text as a pattern that it alone matches.
  function literal(text) {
    return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  }
  function lines_with(had, pattern) {
    const found = had.split("\n").map((line, at) => [at + 1, line.trim()]).filter(([, line]) => pattern.test(line));
    return found.slice(0, 5).map(([at, line]) => `line ${at} ${line}`).join(", ");
  }
  // The line of a file that is most like a text that it does not have.
  function near(path, old) {
    const words = String(old).toLowerCase().match(/\w+/g) ?? [];
    const score = (line) => words.filter((word) => line.toLowerCase().includes(word)).length;
    const [best] = text.lines(path).filter((line) => score(line) > 0).sort((a, b) => score(b) - score(a));
    return best === undefined ? "" : `; it has the line ${JSON.stringify(best)}`;
  }
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
  function files(what) {
    return ask("list", what).filter((one) => !one.folder).map((one) => one.path);
  }
  // A thing is moved into a folder under its own name: into one that is there, or that can only be meant as one.
  function into(from, to, is_one_of_many) {
    const target = path_of(to);
    const has_ending = (name) => path.extname(name) !== "";
    const is_folder = target.endsWith("/") || stat(target)?.folder || is_one_of_many || (has_ending(from) && !has_ending(target) && stat(target) === null);
    return is_folder ? `${target.replace(/\/+$/, "")}/${path.basename(from)}` : target;
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
  const put = (path, content, append = false) =>
    void ask("write", { path: path_of(path), text: text_of(content instanceof String ? content.toString() : content, path), append });
  const fs = {
    readFileSync: (path, options) => {
      if (stat(path) === null && !/[*?{]/.test(path)) throw failure("ENOENT", `no such file or directory, open '${path}'`);
      const had = content(path);
      return options ? had : buffer(had);
    },
    writeFileSync: (path, content) => put(path, content),
    appendFileSync: (path, content) => put(path, content, true),
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
