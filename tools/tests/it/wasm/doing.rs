//! Guests that do one thing with the host and say what came of it.

use super::guest::{Guest, guest, text};

/// Where a guest keeps what it hands over, and where the host's answer goes.
const FIRST: usize = 33_000;
const SECOND: usize = 36_000;
const ANSWER: usize = 32_800;

/// Ends with `"done"`, or with the host's failure; the failure's message is two words behind its kind.
pub fn done_or_why(at: usize) -> String {
    format!(
        "(if (result i32) (i32.load8_u (i32.const {ANSWER}))
           (then (call $err (i32.const 1) (i32.load (i32.const {})) (i32.load (i32.const {}))))
           (else (call $ok (i32.const 32768) (i32.const 6))))",
        at + 4,
        at + 8
    )
}

/// Gives the bytes that the host gave, which must be JSON then, or ends with its failure.
pub fn bytes_or_why(list: usize) -> String {
    format!(
        "(if (result i32) (i32.load8_u (i32.const {ANSWER}))
           (then (call $err (i32.const 1) (i32.load (i32.const {})) (i32.load (i32.const {}))))
           (else (call $ok (i32.load (i32.const {list})) (i32.load (i32.const {})))))",
        ANSWER + 8,
        ANSWER + 12,
        list + 4
    )
}

fn import(interface: &str, name: &str, params: &str) -> String {
    format!("(import \"gpak:tool/{interface}@0.1.0\" \"{name}\" (func ${name} (param {params})))\n")
}

fn base(name: &str) -> Guest {
    guest(name).fields(&text(32_768, "\"done\""))
}

/// A tool that reads a file and gives its content, which must be JSON.
pub fn reads(path: &str) -> Guest {
    reads_from(path, 0)
}

pub fn reads_from(path: &str, offset: i64) -> Guest {
    base("reads")
        .imports(&import("fs", "read", "i32 i32 i64 i32 i32"))
        .fields(&text(FIRST, path))
        .invoke(&format!(
            "(call $read (i32.const {FIRST}) (i32.const {}) (i64.const {offset}) (i32.const 1000000) (i32.const {ANSWER})) {}",
            path.len(),
            bytes_or_why(ANSWER + 4)
        ))
}

/// The instruction that writes a file, for guests that do more.
pub fn write_call(path: &str, content: &str) -> String {
    format!(
        "(call $write (i32.const {FIRST}) (i32.const {}) (i32.const {SECOND}) (i32.const {}) (i32.const {ANSWER}))",
        path.len(),
        content.len()
    )
}

pub fn writes(path: &str, content: &str) -> Guest {
    writes_then(path, content, &done_or_why(ANSWER + 4))
}

pub fn writes_then(path: &str, content: &str, then: &str) -> Guest {
    base("writes")
        .effect(2)
        .imports(&import("fs", "write", "i32 i32 i32 i32 i32"))
        .fields(&text(FIRST, path))
        .fields(&text(SECOND, content))
        .invoke(&format!("{} {then}", write_call(path, content)))
}

/// A tool that calls a function of `fs` with one path.
pub fn with_path(function: &str, path: &str) -> Guest {
    // A record of `stat` is aligned to eight bytes.
    let at = if function == "stat" {
        ANSWER + 8
    } else {
        ANSWER + 4
    };
    base("paths")
        .effect(2)
        .imports(&import("fs", function, "i32 i32 i32"))
        .fields(&text(FIRST, path))
        .invoke(&format!(
            "(call ${function} (i32.const {FIRST}) (i32.const {}) (i32.const {ANSWER})) {}",
            path.len(),
            done_or_why(at)
        ))
}

pub fn moves(from: &str, to: &str) -> Guest {
    base("moves")
        .effect(2)
        .imports(&import("fs", "move", "i32 i32 i32 i32 i32"))
        .fields(&text(FIRST, from))
        .fields(&text(SECOND, to))
        .invoke(&format!(
            "(call $move (i32.const {FIRST}) (i32.const {}) (i32.const {SECOND}) (i32.const {}) (i32.const {ANSWER})) {}",
            from.len(),
            to.len(),
            done_or_why(ANSWER + 4)
        ))
}

/// A tool that keeps a value under a key.
pub fn keeps(key: &str, value: &str) -> Guest {
    base("keeps")
        .effect(1)
        .imports(&import("kv", "set", "i32 i32 i32 i32 i32"))
        .fields(&text(FIRST, key))
        .fields(&text(SECOND, value))
        .invoke(&format!(
            "(call $set (i32.const {FIRST}) (i32.const {}) (i32.const {SECOND}) (i32.const {}) (i32.const {ANSWER})) {}",
            key.len(),
            value.len(),
            done_or_why(ANSWER + 4)
        ))
}

/// A tool that keeps its arguments under `last`, and gives those of the call before.
pub fn remembers() -> Guest {
    base("remembers")
        .effect(1)
        .imports(&import("kv", "set", "i32 i32 i32 i32 i32"))
        .imports(&import("kv", "get", "i32 i32 i32"))
        .fields(&text(FIRST, "last"))
        .invoke(&format!(
            "(call $get (i32.const {FIRST}) (i32.const 4) (i32.const {ANSWER}))
             (local.set $a (i32.load8_u (i32.const {some})))
             (local.set $b (i32.load (i32.const {list})))
             (local.set $c (i32.load (i32.const {length})))
             (call $set (i32.const {FIRST}) (i32.const 4) (local.get $input) (local.get $input_len) (i32.const {ANSWER}))
             (if (result i32) (i32.load8_u (i32.const {ANSWER}))
               (then (call $err (i32.const 1) (i32.load (i32.const {list})) (i32.load (i32.const {length}))))
               (else (if (result i32) (local.get $a)
                 (then (call $ok (local.get $b) (local.get $c)))
                 (else (call $ok (i32.const 32768) (i32.const 6))))))",
            some = ANSWER + 4,
            list = ANSWER + 8,
            length = ANSWER + 12,
        ))
}

/// A request that a tool sends; it gives the body of the response, which must be JSON.
pub struct Sends {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<&'static str>,
    pub timeout_ms: Option<u32>,
    pub effect: u8,
}

pub fn sends(url: &str) -> Sends {
    Sends {
        method: "GET",
        url: url.to_owned(),
        headers: Vec::new(),
        body: None,
        timeout_ms: None,
        effect: 0,
    }
}

impl Sends {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn guest(&self) -> Guest {
        let mut data = Vec::new();
        let mut fields = String::new();
        let mut next = 40_000;
        let mut place = |text_: &str| {
            let at = next;
            next += text_.len().next_multiple_of(8);
            fields.push_str(&text(at, text_));
            (at as u32, text_.len() as u32)
        };
        let method = place(self.method);
        let url = place(&self.url);
        let body = self.body.map(&mut place);
        for (name, value) in &self.headers {
            for (at, length) in [place(name), place(value)] {
                data.extend(at.to_le_bytes());
                data.extend(length.to_le_bytes());
            }
        }
        let list: String = data.iter().map(|byte| format!("\\{byte:02x}")).collect();
        fields.push_str(&format!("(data (i32.const {FIRST}) \"{list}\")"));
        let (body_is, (body, body_length)) = (u32::from(body.is_some()), body.unwrap_or_default());
        let timeout_is = u32::from(self.timeout_ms.is_some());
        let timeout = self.timeout_ms.unwrap_or_default();
        base("sends")
            .effect(self.effect)
            .imports(&import("http", "send", &"i32 ".repeat(12)))
            .fields(&fields)
            .invoke(&format!(
                "(call $send (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {})
                   (i32.const {FIRST}) (i32.const {})
                   (i32.const {body_is}) (i32.const {body}) (i32.const {body_length})
                   (i32.const {timeout_is}) (i32.const {timeout}) (i32.const {ANSWER})) {}",
                method.0,
                method.1,
                url.0,
                url.1,
                self.headers.len(),
                bytes_or_why(ANSWER + 16)
            ))
    }
}

/// A tool that calls another with that input, and gives what that gave.
pub fn invokes(tool: &str, input: &str) -> Guest {
    base("invokes")
        .imports(&import("invoke-tool", "invoke", "i32 i32 i32 i32 i32"))
        .fields(&text(FIRST, tool))
        .fields(&text(SECOND, input))
        .invoke(&format!(
            "(call $invoke (i32.const {FIRST}) (i32.const {}) (i32.const {SECOND}) (i32.const {}) (i32.const {ANSWER})) {}",
            tool.len(),
            input.len(),
            bytes_or_why(ANSWER + 4)
        ))
}
