//! `gpak doctor`: what is there, and what to do about what is not.

use std::{path::Path, time::Duration};

use gpak_kernel::{
    journal::RunFilter,
    model::catalogue::{Network, State},
};
use gpak_tools::{builtin::Reach, mcp::McpError};
use nix::sys::{resource, statvfs};

use crate::{
    choice,
    commands::print_json,
    failure::{DONE, FAILED, Failure},
    home::Home,
    mcp,
    settings::Settings,
    show, wire,
};

/// Free space below which the default model and its journal do not fit.
const ROOM: u64 = 3 << 30;

/// How a part is.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    Good,
    /// It works without.
    Missing,
    /// It does not work.
    Bad,
}

#[derive(serde::Serialize)]
struct Finding {
    part: &'static str,
    health: Health,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

fn good(part: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        part,
        health: Health::Good,
        text: text.into(),
        remedy: None,
    }
}

fn missing(part: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        part,
        health: Health::Missing,
        text: text.into(),
        remedy: Some(remedy.into()),
    }
}

fn bad(part: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        health: Health::Bad,
        ..missing(part, text, remedy)
    }
}

/// `gpak doctor`
pub async fn doctor(home: &Home, place: &Path, json: bool) -> Result<u8, Failure> {
    let mut findings = vec![
        model(home)?,
        used(home, place).await?,
        cache(home),
        disk(home),
        journal(home).await,
        workspace(home, place),
    ];
    findings.push(commands(home, place));
    findings.extend(mcp_servers(home, place).await?);
    findings.push(memory());
    findings.push(real_time());
    findings.push(pip().await);
    findings.push(network(home).await?);
    for finding in &findings {
        if json {
            print_json(finding);
            continue;
        }
        let mark = match finding.health {
            Health::Good => "✓",
            Health::Missing => "–",
            Health::Bad => "✗",
        };
        say!("{mark} {:10} {}", finding.part, finding.text);
        if let Some(remedy) = &finding.remedy {
            say!("             → {remedy}");
        }
    }
    let sound = findings.iter().all(|finding| finding.health != Health::Bad);
    Ok(if sound { DONE } else { FAILED })
}

fn model(home: &Home) -> Result<Finding, Failure> {
    let store = wire::models(home)?;
    let Some(entry) = store.catalogue().default_entry() else {
        return Ok(bad(
            "model",
            "the catalogue has no default",
            "name one with --model",
        ));
    };
    let (title, megabytes) = (&entry.title, entry.bytes / 1_000_000);
    Ok(match store.glance(entry) {
        State::Here { .. } => good(
            "model",
            format!("{title}, {megabytes} MB, {}", entry.licence),
        ),
        State::Partial { bytes } => missing(
            "model",
            format!("{title}: {} of {megabytes} MB are here", bytes / 1_000_000),
            "gpak models pull goes on from there (the first run does so too)",
        ),
        State::Absent => missing(
            "model",
            format!("{title} ({megabytes} MB) is not here yet"),
            "gpak models pull fetches it (the first run does so too)",
        ),
        State::Damaged { .. } => bad(
            "model",
            format!("the file of {title} is damaged"),
            "gpak models pull fetches it again",
        ),
    })
}

/// Which model a run would use, and why.
async fn used(home: &Home, place: &Path) -> Result<Finding, Failure> {
    let settings = match Settings::read(home, place) {
        Ok(settings) => settings,
        Err(why) => return Ok(bad("a run uses", why.to_string(), "mend the settings file")),
    };
    let chosen = choice::choose(&settings, &[]).await;
    let text = format!("{}: {}", chosen.id_or_default(home)?, chosen.why());
    Ok(good("a run uses", text))
}

fn cache(home: &Home) -> Finding {
    let text = format!("models and prompt states in {}", home.cache.display());
    match probe_writable(&home.cache) {
        Ok(()) => good("cache", text),
        Err(why) => bad(
            "cache",
            format!("{text}: {why}"),
            "make it writable, or set GPAK_HOME",
        ),
    }
}

fn probe_writable(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    tempfile::tempfile_in(dir).map(drop)
}

fn disk(home: &Home) -> Finding {
    match statvfs::statvfs(&home.cache).or_else(|_| statvfs::statvfs("/")) {
        Ok(disk) => {
            let free = disk.blocks_available() * disk.fragment_size();
            let text = format!("{:.1} GB free", free as f64 / 1e9);
            if free < ROOM {
                missing(
                    "disk",
                    text,
                    "3 GB are enough for the default model; free some, or set GPAK_HOME",
                )
            } else {
                good("disk", text)
            }
        }
        Err(why) => missing(
            "disk",
            format!("its size cannot be told: {why}"),
            "look at `df -h`",
        ),
    }
}

async fn journal(home: &Home) -> Finding {
    let remedy = "free or unlock the folder, or set GPAK_HOME";
    let journal = match wire::journal(home) {
        Ok(journal) => journal,
        Err(why) => return bad("journal", why.to_string(), remedy),
    };
    match journal.runs(&RunFilter::default()).await {
        Ok(runs) => good(
            "journal",
            format!("{} runs in {}", runs.len(), home.data.display()),
        ),
        Err(why) => bad("journal", why.to_string(), remedy),
    }
}

fn workspace(home: &Home, place: &Path) -> Finding {
    let path = match wire::workspace(place) {
        Ok(path) => path,
        Err(why) => {
            return bad(
                "workspace",
                why.to_string(),
                "name an existing folder with -C",
            );
        }
    };
    if let Err(why) = Settings::read(home, &path) {
        return bad("workspace", why.to_string(), "mend the settings file");
    }
    match tempfile::tempfile_in(&path) {
        Ok(_) => good(
            "workspace",
            format!("{}, readable and writable", path.display()),
        ),
        Err(why) => missing(
            "workspace",
            format!("{} is not writable: {why}", path.display()),
            "tasks that only read work; for others, use a folder of your own",
        ),
    }
}

/// How far commands reach. Settings that cannot be read are told of elsewhere.
fn commands(home: &Home, place: &Path) -> Finding {
    let confined = Settings::read(home, place).is_ok_and(|settings| settings.confine.value);
    match (confined, Reach::can_be_enforced()) {
        (true, true) => good(
            "commands",
            "can write only in the workspace, temporary folders and caches of build tools, and read all but \
             what gpak keeps",
        ),
        (true, false) => missing(
            "commands",
            "can read and write wherever you can: this system has no Landlock",
            "Linux 5.13 or newer has it; until then look at each command before you allow it",
        ),
        (false, _) => missing(
            "commands",
            "can read and write wherever you can, as the settings say",
            "set commands.confine = true, and name in commands.write what else they need",
        ),
    }
}

/// Starts each MCP server and lists its tools.
async fn mcp_servers(home: &Home, place: &Path) -> Result<Vec<Finding>, Failure> {
    // What is wrong with the settings is told elsewhere.
    let Ok(settings) = Settings::read(home, place) else {
        return Ok(Vec::new());
    };
    let servers = mcp::servers(home, &settings, 0, false, indicatif::ProgressBar::hidden())?;
    let looked = servers.look().await;
    let mut changes = servers.changes();
    servers.close().await;
    let findings = looked.into_iter().map(|health| {
        let name = &health.server;
        let is_changed = changes.iter().position(|(server, _)| server == name);
        let (tools, left_out) = (health.tools, health.left_out.len());
        match (
            health.protocol,
            is_changed.map(|at| changes.swap_remove(at)),
        ) {
            (Err(why @ McpError::Refused(_)), _) => missing(
                "mcp",
                format!("{name}: {}", show::plain(&why.to_string())),
                format!("gpak tools login {name}, or what it says"),
            ),
            (Err(why), _) => bad(
                "mcp",
                format!("{name}: {}", show::plain(&why.to_string())),
                format!("mend [mcp.{name}] in the settings, or set its `enabled` to false"),
            ),
            (Ok(_), Some((_, changes))) => missing(
                "mcp",
                format!(
                    "{name}: {} changed since you accepted them",
                    show::counted(changes.len() as u64, "tool")
                ),
                "gpak run or gpak chat at a terminal shows what changed and asks",
            ),
            (Ok(protocol), None) => {
                let left_out = match left_out {
                    0 => String::new(),
                    some => format!(
                        ", {some} more cannot be used: {}",
                        show::plain(&health.left_out.join("; "))
                    ),
                };
                let tools = show::counted(tools as u64, "tool");
                good(
                    "mcp",
                    format!("{name}: {tools}{left_out} (protocol {protocol})"),
                )
            }
        }
    });
    Ok(findings.collect())
}

fn memory() -> Finding {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| {
        let kilobytes = line
            .strip_prefix("MemAvailable:")?
            .trim()
            .strip_suffix("kB")?;
        kilobytes.trim().parse::<u64>().ok()
    });
    match available {
        Some(kilobytes) if kilobytes < 3_000_000 => missing(
            "memory",
            format!("{:.1} GB available", kilobytes as f64 / 1e6),
            "the default model takes 2.6 GB; a smaller one: gpak models list",
        ),
        Some(kilobytes) => good(
            "memory",
            format!("{:.1} GB available", kilobytes as f64 / 1e6),
        ),
        None => missing(
            "memory",
            "cannot be told on this system",
            "the default model takes 2.6 GB",
        ),
    }
}

/// Reflexes of a robot want a real-time class; nothing else does.
fn real_time() -> Finding {
    let limit = |what| resource::getrlimit(what).map(|(soft, _)| soft);
    let (priority, locked) = (
        limit(resource::Resource::RLIMIT_RTPRIO),
        limit(resource::Resource::RLIMIT_MEMLOCK),
    );
    match (priority, locked) {
        (Ok(priority), Ok(locked)) if priority > 0 || nix::unistd::geteuid().is_root() => {
            let locked = match locked {
                nix::libc::RLIM_INFINITY => "no limit".to_owned(),
                bytes => format!("{} kB", bytes / 1024),
            };
            good(
                "real time",
                format!("priority up to {}, memory lock {locked}", priority.max(1)),
            )
        }
        (Ok(_), Ok(_)) => missing(
            "real time",
            "not granted to this user (only a robot's reflexes use it)",
            "add `@robot - rtprio 80` and `@robot - memlock unlimited` to /etc/security/limits.conf",
        ),
        _ => missing("real time", "cannot be told", "look at `ulimit -r -l`"),
    }
}

async fn pip() -> Finding {
    let asked = tokio::process::Command::new("python3")
        .args(["-m", "pip", "--version"])
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(Duration::from_secs(10), asked).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let version: Vec<_> = text.split_whitespace().take(2).collect();
            good(
                "pip",
                format!("{} (models can come through it)", version.join(" ")),
            )
        }
        _ => missing(
            "pip",
            "python3 -m pip does not run",
            "only needed where the model hub is out of reach",
        ),
    }
}

async fn network(home: &Home) -> Result<Finding, Failure> {
    let store = wire::models(home)?;
    let asking = tokio::task::spawn_blocking(move || store.hub_answers(&Network::default()));
    Ok(if asking.await.unwrap_or(false) {
        good("network", "the model hub can be reached")
    } else {
        missing(
            "network",
            "the model hub cannot be reached",
            "models come through pip, or from a file: gpak models add FILE.gguf",
        )
    })
}
