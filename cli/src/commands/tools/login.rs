//! `gpak tools login` and `logout`: who is let in by the user's MCP servers.

use std::{
    io::IsTerminal as _,
    process::{Command, Stdio},
    time::Duration,
};

use gpak_tools::mcp::{LoggedIn, Login, LoginError, ServerName, Servers};
use indicatif::ProgressBar;
use serde_json::json;

use crate::{
    args::{LoginArgs, Place},
    commands::print_json,
    failure::{DONE, Failure, INTERRUPTED},
    home::Home,
    mcp,
    settings::Settings,
    show, wire,
};

/// `gpak tools login`
pub async fn login(home: &Home, asked: LoginArgs, json: bool) -> Result<u8, Failure> {
    let servers = servers(home, &asked.place)?;
    let opens = !asked.no_browser && !json && std::io::stderr().is_terminal();
    let open = |address: &str| {
        if json {
            print_json(&json!({"open": address}));
            return;
        }
        let address = show::plain(address);
        eprintln!(
            "gpak: log in at this address within {} s:\n\n{address}\n",
            asked.timeout
        );
        if opens && browse(&address) {
            eprintln!("gpak: a browser opens it. If none does, copy it.");
        } else {
            eprintln!(
                "gpak: on another machine, too; then the browser ends at an address with 127.0.0.1 that it \
                 cannot show: open that here, as with `curl 'ADDRESS'`."
            );
        }
    };
    let logging_in = servers.log_in(
        &asked.server,
        Login {
            scopes: asked.scopes.clone(),
            patience: Duration::from_secs(asked.timeout),
            open: &open,
        },
    );
    let logged_in = tokio::select! {
        logged_in = logging_in => logged_in?,
        _ = tokio::signal::ctrl_c() => {
            let mut stopped = Failure::new("interrupted; nobody was logged in");
            stopped.code = INTERRUPTED;
            return Err(stopped);
        }
    };
    tell(&asked.server, &logged_in, json);
    Ok(DONE)
}

fn tell(server: &ServerName, logged_in: &LoggedIn, json: bool) {
    let LoggedIn {
        issuer,
        scopes,
        lasts,
        renews,
    } = logged_in;
    if json {
        let seconds = lasts.map(|lasts| lasts.as_secs());
        print_json(&json!({
            "logged_in": server.as_str(), "issuer": issuer, "scopes": scopes,
            "seconds": seconds, "renews": renews,
        }));
        return;
    }
    let at = issuer
        .as_ref()
        .map_or_else(String::new, |issuer| format!(" at {issuer}"));
    let scopes = match scopes.is_empty() {
        true => String::new(),
        false => format!(" It is allowed: {}.", scopes.join(" ")),
    };
    let lasts = match (renews, lasts) {
        (true, _) => " It is renewed by itself.".to_owned(),
        (false, Some(lasts)) => format!(" It lasts for {} s.", lasts.as_secs()),
        (false, None) => String::new(),
    };
    say!(
        "{}",
        show::plain(&format!("logged in to {server}{at}.{scopes}{lasts}"))
    );
}

/// `gpak tools logout`
pub fn logout(home: &Home, server: &ServerName, place: &Place, json: bool) -> Result<u8, Failure> {
    let was = servers(home, place)?.log_out(server)?;
    if json {
        print_json(&json!({"logged_out": server.as_str(), "was_logged_in": was}));
        return Ok(DONE);
    }
    match was {
        true => say!(
            "the login to {server} is forgotten here; what was given out may be good until it runs out"
        ),
        false => say!("nobody was logged in to {server}"),
    }
    Ok(DONE)
}

fn servers(home: &Home, place: &Place) -> Result<Servers, Failure> {
    let workspace = wire::workspace(&place.workspace)?;
    let settings = Settings::read(home, &workspace)?;
    mcp::servers(home, &settings, 0, false, ProgressBar::hidden())
}

/// Opens an address in a browser, where there is one. Whether there is.
fn browse(address: &str) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let program = match cfg!(target_os = "macos") {
        true => "open",
        false if is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") => "xdg-open",
        false => return false,
    };
    // It is an address of http or https: the MCP client has looked at that.
    let mut command = Command::new(program);
    command
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    is_there(program) && command.spawn().is_ok()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        let message = show::plain(&error.to_string());
        match error {
            LoginError::Settings(_) => Self::usage(message)
                .help("`gpak config show` says what the settings are, `gpak config paths` where"),
            LoginError::Needless => Self::new(message)
                .help("where it wants a token all the same, give it `token_cmd` or `headers`"),
            LoginError::Late { .. } => Self::new(message).help("--timeout gives it longer"),
            _ => Self::new(message),
        }
    }
}
