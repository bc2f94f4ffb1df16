//! Shows an identity and its versions.

use gpak_kernel::identity::{Capsule, Edit, History, Version};
use serde_json::{Value, json};

use crate::{
    commands::print_json,
    failure::{DONE, Failure},
    show,
};

/// Whose it is and how far it has come, as JSON.
pub fn name(history: &History) -> Value {
    json!({
        "identity": history.identity(),
        "key": history.key(),
        "version": history.latest(),
        "hash": history.hash(),
    })
}

/// What that version gave; the latest if none is named.
pub fn at(history: &History, version: Option<u64>) -> Result<Capsule, Failure> {
    let Some(version) = version else {
        return Ok(history.capsule());
    };
    history.at(version).cloned().ok_or_else(|| {
        Failure::usage(format!(
            "there is no version {version}; there are 1 to {}",
            history.latest()
        ))
        .help("`gpak identity log` lists them")
    })
}

/// `gpak identity show`
pub fn show(history: &History, version: Option<u64>, json: bool) -> Result<u8, Failure> {
    let capsule = at(history, version)?;
    let number = version.unwrap_or(history.latest());
    if json {
        let mut value = name(history);
        if let Some(object) = value.as_object_mut() {
            object.insert("version".into(), json!(number));
            object.insert("capsule".into(), json!(capsule));
        }
        print_json(&value);
        return Ok(DONE);
    }
    let core = &capsule.core;
    say!("{} · version {number} · {}", core.name, history.identity());
    part("persona", &core.persona);
    list("constitution", numbered(&core.constitution));
    part("mission", &capsule.mission);
    list("constraints", numbered(&capsule.constraints));
    let learned = capsule.learned.iter();
    let learned = learned.map(|item| format!("{:>4}  {}", item.id, show::one_line(&item.told())));
    list("learnt", learned.collect());
    Ok(DONE)
}

fn part(title: &str, text: &str) {
    if !text.is_empty() {
        say!("\n{title}\n      {}", text.trim().replace('\n', "\n      "));
    }
}

fn list(title: &str, lines: Vec<String>) {
    if !lines.is_empty() {
        say!("\n{title}\n{}", lines.join("\n"));
    }
}

fn numbered(texts: &[String]) -> Vec<String> {
    let texts = (1..).zip(texts);
    texts
        .map(|(number, text)| format!("{number:>4}  {}", show::one_line(text)))
        .collect()
}

/// `gpak identity log`
pub fn log(history: &History, limit: usize, json: bool) -> Result<u8, Failure> {
    for version in history.versions().iter().rev().take(limit) {
        if json {
            print_json(version);
        } else {
            say!("{}", line(version));
            for edit in &version.edits {
                say!("      {}", told(edit));
            }
        }
    }
    Ok(DONE)
}

fn line(version: &Version) -> String {
    let header = &version.header;
    let reason = show::one_line(&header.reason);
    let reason = match reason.is_empty() {
        true => String::new(),
        false => format!("  {reason}"),
    };
    format!(
        "{:>4}  {}  {}{reason}",
        header.version,
        header.time.strftime("%Y-%m-%d %H:%M"),
        header.by
    )
}

/// An edit in one line.
pub fn told(edit: &Edit) -> String {
    let short = |text: &str| show::shorten(&show::one_line(text), 90);
    match edit {
        Edit::Name { text } => format!("name: {}", short(text)),
        Edit::Persona { text } => format!("persona: {}", short(text)),
        Edit::Rule { text } => format!("rule: {}", short(text)),
        Edit::Mission { text } => format!("mission: {}", short(text)),
        Edit::Constraints { texts } => format!("constraints: {}", short(&texts.join(" · "))),
        Edit::Add { id, text, .. } => format!("+ item {id}: {}", short(text)),
        Edit::Revise { id, text, .. } => format!("~ item {id}: {}", short(text)),
        Edit::Retire { id, into: None } => format!("- item {id}"),
        Edit::Retire {
            id,
            into: Some(into),
        } => format!("- item {id}, as item {into} says it"),
        Edit::Pin { id } => format!("pin item {id}"),
        Edit::Unpin { id } => format!("unpin item {id}"),
        Edit::Endorse { id } => format!("endorse item {id}"),
        Edit::Revert { to } => format!("back to version {to}"),
    }
}

/// What was just signed.
pub fn latest(history: &History, json: bool) -> Result<u8, Failure> {
    let Some(version) = history.versions().last() else {
        return Ok(DONE);
    };
    if json {
        print_json(version);
        return Ok(DONE);
    }
    say!("version {}", version.header.version);
    for edit in &version.edits {
        say!("  {}", told(edit));
    }
    Ok(DONE)
}

/// `gpak identity diff`
pub fn diff(
    history: &History,
    from: Option<u64>,
    to: Option<u64>,
    json: bool,
) -> Result<u8, Failure> {
    let to = to.unwrap_or(history.latest());
    let from = from.unwrap_or(to.saturating_sub(1).max(1));
    let changes = at(history, Some(from))?.changes(&at(history, Some(to))?);
    for change in &changes {
        if json {
            print_json(change);
            continue;
        }
        say!("{}", change.what);
        for (sign, text) in [('-', &change.before), ('+', &change.after)] {
            if let Some(text) = text {
                say!("{sign} {}", text.replace('\n', &format!("\n{sign} ")));
            }
        }
    }
    if changes.is_empty() && !json {
        say!("versions {from} and {to} say the same");
    }
    Ok(DONE)
}
