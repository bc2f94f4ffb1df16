//! `gpak tools new` and `componentize`: what makes a tool of one's own.

use std::{collections::BTreeSet, fs, path::Path};

use gpak_tools::wasm::{self, Language, Project};
use serde_json::json;

use crate::{
    commands::print_json,
    failure::{DONE, Failure, file},
};

/// Writes a project into a new folder of that name, and says what comes next.
pub fn new(
    language: Language,
    name: &str,
    reserved: &BTreeSet<String>,
    json: bool,
) -> Result<u8, Failure> {
    let project = Project::new(language, name).map_err(|why| {
        Failure::usage(why).help("choose another, as in gpak tools new --lang js word_count")
    })?;
    if reserved.contains(name) {
        return Err(Failure::usage(format!(
            "there is a tool {name} already, which comes with gpak"
        ))
        .help("choose another name; gpak tools list shows those that are taken"));
    }
    let folder = Path::new(name);
    if folder.symlink_metadata().is_ok() {
        return Err(
            Failure::usage(format!("there is something at {name} already"))
                .help("choose another name, or another folder to make it in; nothing was changed"),
        );
    }
    project.write(folder)?;
    let mut next = vec![
        format!("gpak tools add {name}"),
        format!("gpak tools test {name}"),
        format!("gpak tools call {name} '{}'", project.example),
    ];
    if project.build_needs.is_some() {
        next.insert(0, format!("sh {name}/build.sh"));
    }
    let files: Vec<_> = project.files.iter().map(|(path, _)| path).collect();
    if json {
        print_json(&json!({
            "made": name, "files": files, "build_needs": project.build_needs, "next": next,
        }));
        return Ok(DONE);
    }
    say!("made {name}:");
    for path in files {
        say!("  {name}/{path}");
    }
    match project.build_needs {
        Some(needs) => say!("next (its build.sh needs {needs}):"),
        None => say!("next:"),
    }
    for line in next {
        say!("  {line}");
    }
    Ok(DONE)
}

/// Makes a component of the module in a file.
pub fn componentize(
    module: &Path,
    wit: Option<&Path>,
    world: Option<&str>,
    output: &Path,
    json: bool,
) -> Result<u8, Failure> {
    let bytes = fs::read(module).map_err(file(module))?;
    let component = wasm::componentize(&bytes, wit, world)
        .map_err(|why| Failure::new(format!("{}: {why}", module.display())))?;
    fs::write(output, &component).map_err(file(output))?;
    if json {
        print_json(&json!({"made": output, "bytes": component.len()}));
    } else {
        say!("made {}, {} bytes", output.display(), component.len());
    }
    Ok(DONE)
}
