//! Guests written as WAT: what they describe is laid out here, and a test writes the rest.

use std::fmt::Write as _;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where a guest has what it gives; below are its static data, above is its heap.
const RETURN: usize = 16;
const STATIC: usize = 1024;

/// A guest with one tool.
#[derive(Clone)]
pub struct Guest {
    pub world: &'static str,
    pub name: String,
    pub description: String,
    pub input: String,
    pub output: Option<String>,
    /// 0 pure, 1 idempotent, 2 reversible, 3 irreversible.
    pub effect: u8,
    pub resumable: bool,
    /// WAT of its imports.
    pub imports: String,
    /// WAT of fields: functions, globals, data from address 32768 on.
    pub fields: String,
    /// WAT of the body of `invoke`, with the locals `$id $id_len $attempt $tool $tool_len $input $input_len`
    /// and `$a` to `$d` (i32). It gives the address of a result: `(call $ok ptr len)`, `(call $err kind ptr len)`.
    pub invoke: String,
    /// The same for `compensate`, with `$output $output_len` too.
    pub compensate: Option<String>,
    /// WAT of the body of `describe`, instead of the usual one.
    pub describe: Option<String>,
    /// Pages of memory.
    pub pages: u32,
}

/// What goes in comes out.
pub const ECHO: &str = "(call $ok (local.get $input) (local.get $input_len))";

/// Adds what a call gives to `fields`: a text at `address`.
pub fn text(address: usize, text: &str) -> String {
    format!(
        "(data (i32.const {address}) \"{}\")\n",
        escaped(text.as_bytes())
    )
}

/// The body of an `invoke` that gives that JSON; keep the text short of 2 KiB.
pub fn gives(json: &str) -> (String, String) {
    let body = format!("(call $ok (i32.const 40000) (i32.const {}))", json.len());
    (text(40_000, json), body)
}

pub fn guest(name: &str) -> Guest {
    Guest {
        world: "tool",
        name: name.to_owned(),
        description: format!("The tool {name}."),
        input: r#"{"type":"object"}"#.to_owned(),
        output: None,
        effect: 0,
        resumable: false,
        imports: String::new(),
        fields: String::new(),
        invoke: ECHO.to_owned(),
        compensate: None,
        describe: None,
        pages: 2,
    }
}

impl Guest {
    pub fn invoke(mut self, body: &str) -> Self {
        self.invoke = body.to_owned();
        self
    }

    pub fn fields(mut self, fields: &str) -> Self {
        self.fields.push_str(fields);
        self
    }

    pub fn imports(mut self, imports: &str) -> Self {
        self.imports.push_str(imports);
        self
    }

    pub fn effect(mut self, effect: u8) -> Self {
        self.effect = effect;
        self
    }

    /// Gives always the same.
    pub fn gives(mut self, json: &str) -> Self {
        let (data, body) = gives(json);
        self.fields.push_str(&data);
        self.invoke = body;
        self
    }

    pub fn compensate(mut self, body: &str) -> Self {
        self.world = "undoable-tool";
        self.effect = 2;
        self.compensate = Some(body.to_owned());
        self
    }

    /// The component.
    pub fn build(&self) -> Vec<u8> {
        component(self.world, &self.wat())
    }

    pub fn wat(&self) -> String {
        let mut data = Vec::new();
        let mut place = |text: &str| {
            let at = STATIC + data.len();
            data.extend(text.as_bytes());
            (at, text.len())
        };
        let texts = [&self.name, &self.description, &self.input].map(|text| place(text));
        let output = self.output.as_deref().map(&mut place);
        while data.len() % 4 != 0 {
            data.push(0);
        }
        let spec = STATIC + data.len();
        let word = |data: &mut Vec<u8>, word: usize| data.extend((word as u32).to_le_bytes());
        for (at, length) in texts {
            word(&mut data, at);
            word(&mut data, length);
        }
        word(&mut data, usize::from(output.is_some()));
        let (at, length) = output.unwrap_or_default();
        word(&mut data, at);
        word(&mut data, length);
        let can_compensate = u8::from(self.compensate.is_some());
        data.extend([self.effect, can_compensate, u8::from(self.resumable), 0]);
        let list = STATIC + data.len();
        word(&mut data, spec);
        word(&mut data, 1);
        assert!(
            STATIC + data.len() < 30_000,
            "the description is too long for this guest"
        );
        let describe = self
            .describe
            .clone()
            .unwrap_or_else(|| format!("(i32.const {list})"));
        let call = "(param $id i32) (param $id_len i32) (param $attempt i32) (param $tool i32) \
                    (param $tool_len i32) (param $input i32) (param $input_len i32)";
        let locals = "(local $a i32) (local $b i32) (local $c i32) (local $d i32)";
        let mut wat = String::new();
        let _ = write!(
            wat,
            r#"(module
{imports}
(memory (export "memory") {pages})
(global $heap (mut i32) (i32.const 65536))
(data (i32.const {STATIC}) "{data}")
{fields}
(func $ok (param i32 i32) (result i32)
  (i32.store8 (i32.const {RETURN}) (i32.const 0))
  (i32.store (i32.const {ok_at}) (local.get 0))
  (i32.store (i32.const {ok_len}) (local.get 1))
  (i32.const {RETURN}))
(func $err (param i32 i32 i32) (result i32)
  (i32.store8 (i32.const {RETURN}) (i32.const 1))
  (i32.store8 (i32.const {ok_at}) (local.get 0))
  (i32.store (i32.const {ok_len}) (local.get 1))
  (i32.store (i32.const {err_len}) (local.get 2))
  (i32.const {RETURN}))
(func $realloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32)
  (result i32) (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
  (global.set $heap (i32.add (local.get $at) (local.get $new)))
  (block $fits (loop $grow
    (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
    (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
    (br $grow)))
  (local.get $at))
(func (export "describe") (result i32) {locals} {describe})
(func (export "invoke") {call} (result i32) {locals} {invoke})
"#,
            imports = self.imports,
            pages = self.pages,
            data = escaped(&data),
            fields = self.fields,
            ok_at = RETURN + 4,
            ok_len = RETURN + 8,
            err_len = RETURN + 12,
            invoke = self.invoke,
        );
        if let Some(body) = &self.compensate {
            let _ = writeln!(
                wat,
                "(func (export \"compensate\") {call} (param $output i32) (param $output_len i32) (result i32) {locals} {body})"
            );
        }
        wat.push(')');
        wat
    }
}

/// A core module as a component of a world.
pub fn component(world: &str, wat: &str) -> Vec<u8> {
    component_with(&[], world, wat)
}

/// The same, with more packages of WIT for the world to import from.
pub fn component_with(packages: &[&str], world: &str, wat: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).unwrap_or_else(|why| panic!("{why}\n{wat}"));
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/wit");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let mut all = vec![package];
    for text in packages {
        all.push(resolve.push_str("more.wit", text).unwrap());
    }
    let world = resolve.select_world(&all, Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().validate(true);
    encoder.module(&module).unwrap().encode().unwrap()
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    })
}
