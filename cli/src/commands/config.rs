//! `gpak config`.

use crate::{
    args::ConfigCommand,
    commands::print_json,
    failure::{DONE, Failure},
    home::Home,
    remembering,
    settings::{Setting, Settings},
    wire,
};

/// `gpak config`
pub fn config(home: &Home, command: ConfigCommand, json: bool) -> Result<u8, Failure> {
    match command {
        ConfigCommand::Show { origin, place } => {
            let settings = Settings::read(home, &wire::workspace(&place.workspace)?)?;
            for (name, value, from) in lines(&settings) {
                if json {
                    print_json(
                        &serde_json::json!({"setting": name, "value": value, "origin": from}),
                    );
                } else if origin {
                    say!("{name} = {value}  # {from}");
                } else {
                    say!("{name} = {value}");
                }
            }
            for ignored in &settings.ignored {
                eprintln!("gpak: ignored {ignored}");
            }
        }
        ConfigCommand::Paths => {
            let paths = [
                ("settings", home.config_file()),
                ("data", home.data.clone()),
                ("models", home.models()),
            ];
            for (what, path) in paths {
                if json {
                    print_json(&serde_json::json!({"what": what, "path": path}));
                } else {
                    say!("{what:8}  {}", path.display());
                }
            }
        }
    }
    Ok(DONE)
}

/// Each setting with its value as TOML and where it came from.
fn lines(settings: &Settings) -> Vec<(String, String, String)> {
    let model = settings.model.value.as_deref();
    let mut lines = vec![
        (
            "model".to_owned(),
            model.map_or_else(
                || "(what is there; `gpak models list` says which)".to_owned(),
                |model| format!("\"{model}\""),
            ),
            settings.model.origin.to_string(),
        ),
        line("window", &settings.window),
        line("budget.steps", &settings.steps),
        line("budget.tokens", &settings.tokens),
        line("budget.cost", &settings.cost),
        line("budget.minutes", &settings.minutes),
    ];
    lines.extend(
        settings
            .mind
            .value
            .lines()
            .into_iter()
            .map(|(name, value)| {
                let origin = settings.mind.origin.to_string();
                (format!("mind.{name}"), value, origin)
            }),
    );
    if let Some(policy) = settings.policy.value {
        let origin = settings.policy.origin.to_string();
        lines.push(("mind.policy".to_owned(), format!("\"{policy}\""), origin));
    }
    lines.extend(ways(settings));
    let paths = serde_json::json!(settings.write.value).to_string();
    lines.push(line("memory.use", &settings.memory));
    lines.push((
        "memory.namespace".to_owned(),
        serde_json::json!(settings.namespace.value).to_string(),
        settings.namespace.origin.to_string(),
    ));
    lines.push(line("commands.confine", &settings.confine));
    lines.push((
        "commands.write".to_owned(),
        paths,
        settings.write.origin.to_string(),
    ));
    lines.extend(remembering::lines(settings));
    for (provider, server) in [("openai", &settings.openai), ("ollama", &settings.ollama)] {
        lines.extend(server.value.lines().into_iter().map(|(name, value)| {
            (
                format!("{provider}.{name}"),
                value,
                server.origin.to_string(),
            )
        }));
    }
    for (name, server) in &settings.mcp {
        let said = server.value.lines().into_iter();
        lines.extend(said.map(|(setting, value)| {
            (
                format!("mcp.{name}.{setting}"),
                value,
                server.origin.to_string(),
            )
        }));
    }
    lines.extend(settings.rules.iter().map(|rule| {
        let value = serde_json::to_string(&rule.value).unwrap_or_default();
        ("permission".to_owned(), value, rule.origin.to_string())
    }));
    lines
}

/// How tasks are done, as far as anything is said of it.
fn ways(settings: &Settings) -> Vec<(String, String, String)> {
    let Settings {
        check,
        strategy,
        delegate,
        ..
    } = settings;
    let check = (!check.value.is_empty()).then(|| {
        (
            "check",
            serde_json::json!(check.value),
            check.origin.to_string(),
        )
    });
    let strategy = strategy.value.map(|value| {
        let value = gpak_kernel::event::Choice::from(value);
        (
            "strategy",
            serde_json::json!(value),
            strategy.origin.to_string(),
        )
    });
    let delegate = delegate
        .value
        .map(|value| ("delegate", value.into(), delegate.origin.to_string()));
    let said = check.into_iter().chain(strategy).chain(delegate);
    said.map(|(name, value, origin)| (name.to_owned(), value.to_string(), origin))
        .collect()
}

fn line<T: std::fmt::Display>(name: &str, setting: &Setting<T>) -> (String, String, String) {
    (
        name.to_owned(),
        setting.value.to_string(),
        setting.origin.to_string(),
    )
}
