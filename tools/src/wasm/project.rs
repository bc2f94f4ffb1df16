//! Projects of tools, from nothing: a small tool that builds, with its `tool.toml` and examples.

use std::{fs, io, path::Path};

use super::{TOOL_WIT, WasmError, manifest::name_fault};

/// The name that the tool has in the templates.
const TEMPLATE_NAME: &str = "my_tool";
/// Where a template says how long the name is.
const NAME_LENGTH: &str = "NAME_LENGTH";
/// Where a project has the WIT of its world.
const WIT_FILE: &str = "wit/tool.wit";

/// What a tool can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust, with `wit-bindgen`.
    Rust,
    /// C, without a library.
    C,
    /// JavaScript, which the interpreter that comes with gpak runs as it is.
    JavaScript,
    /// Python, with `componentize-py`.
    Python,
    /// The text of Wasm.
    Wat,
}

/// A project that is not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its files: paths in its folder, and what is in them.
    pub files: Vec<(String, String)>,
    /// What its `build.sh`, which makes what `tool.toml` names, needs beside gpak. None if nothing is built.
    pub build_needs: Option<&'static str>,
    /// Arguments that its tool takes, as JSON.
    pub example: &'static str,
}

type Template = &'static [(&'static str, &'static str)];

/// A file of a template, by its path below `tools/new`.
macro_rules! file {
    ($folder:literal, $path:literal) => {
        (
            $path,
            include_str!(concat!("../../new/", $folder, "/", $path)),
        )
    };
}

const RUST: Template = &[
    file!("rust", "tool.toml"),
    file!("rust", "build.sh"),
    // A folder with a Cargo.toml would be left out of this crate when that is packaged.
    ("Cargo.toml", include_str!("../../new/rust/manifest.toml")),
    file!("rust", "src/lib.rs"),
    file!("rust", ".gitignore"),
    file!("rust", "README.md"),
];
const C: Template = &[
    file!("c", "tool.toml"),
    file!("c", "build.sh"),
    file!("c", "tool.c"),
    file!("c", "guest.h"),
    file!("c", "README.md"),
];
const JAVASCRIPT: Template = &[
    file!("js", "tool.toml"),
    file!("js", "tool.js"),
    file!("js", "README.md"),
];
const PYTHON: Template = &[
    file!("python", "tool.toml"),
    file!("python", "build.sh"),
    file!("python", "app.py"),
    file!("python", "README.md"),
];
const WAT: Template = &[
    file!("wat", "tool.toml"),
    file!("wat", "build.sh"),
    file!("wat", "my_tool.wat"),
    file!("wat", "README.md"),
];

impl Project {
    /// A project of a tool of that name.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn new(language: Language, name: &str) -> Result<Self, String> {
        if let Some(why) = name_fault(name) {
            return Err(why);
        }
        let (template, build_needs) = match language {
            Language::Rust => (RUST, Some("rustup target add wasm32-unknown-unknown")),
            Language::C => (
                C,
                Some("clang and lld, as in apt-get install clang-19 lld-19"),
            ),
            Language::JavaScript => (JAVASCRIPT, None),
            Language::Python => (PYTHON, Some("pip install componentize-py")),
            Language::Wat => (WAT, Some("nothing else")),
        };
        let named = |text: &str| {
            text.replace(NAME_LENGTH, &name.len().to_string())
                .replace(TEMPLATE_NAME, name)
        };
        let files = template.iter();
        let mut files: Vec<_> = files
            .map(|(path, text)| (named(path), named(text)))
            .collect();
        if build_needs.is_some() {
            files.push((WIT_FILE.to_owned(), TOOL_WIT.to_owned()));
        }
        Ok(Self {
            files,
            build_needs,
            example: match language {
                Language::Wat => r#"{"numbers": [1, 20, 300]}"#,
                _ => r#"{"text": "one two three"}"#,
            },
        })
    }

    /// Writes it into a folder that is not there yet.
    ///
    /// # Errors
    /// If something is there, or it cannot be written. Then nothing of it stays.
    pub fn write(&self, folder: &Path) -> Result<(), WasmError> {
        let broken = |why: io::Error| WasmError::file("make", folder, &why);
        fs::create_dir(folder).map_err(broken)?;
        let written = self.files.iter().try_for_each(|(path, text)| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(path, text)
        });
        if written.is_err() {
            let _ = fs::remove_dir_all(folder);
        }
        written.map_err(broken)
    }
}
