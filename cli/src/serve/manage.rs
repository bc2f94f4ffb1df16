//! `gpak serve users`, `keys` and `link`: who may use the service, managed where it runs.

use std::{
    io::{BufRead, IsTerminal, Write},
    time::Duration,
};

use serde_json::json;

use super::{
    LINK,
    access::{
        keys::{self, Kind},
        users::{self, User},
    },
    args::{KeysCommand, ServeCommand, UsersCommand},
    db::Store,
};
use crate::{
    commands::print_json,
    failure::{DONE, Failure},
    home::Home,
};

/// `gpak serve users`, `keys` and `link`
pub async fn manage(home: &Home, command: ServeCommand, json: bool) -> Result<u8, Failure> {
    let store = Store::open(&home.data)?;
    match command {
        ServeCommand::Users(command) => manage_users(&store, command, json),
        ServeCommand::Keys(command) => manage_keys(&store, command, json).await,
        ServeCommand::Link { user, url } => {
            let secret = link(&store, &known(&store, &user)?).await?;
            let url = format!("{}/login?token={secret}", url.trim_end_matches('/'));
            match json {
                true => print_json(&json!({"link": url})),
                false => say!("{url}"),
            }
            Ok(DONE)
        }
    }
}

/// The secret of a link that signs a user in, once.
pub async fn link(store: &Store, user: &User) -> Result<String, Failure> {
    let what = ("link".to_owned(), user.role);
    let (_, secret) = keys::make(store, (user.id, Kind::Link), what, Some(LINK)).await?;
    Ok(secret)
}

fn known(store: &Store, name: &str) -> Result<User, Failure> {
    // Whoever is here before the first start of the service has its admin.
    users::first(store)?;
    users::named(store, name)?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("there is no user {name}")).help("`gpak serve users list` shows them")
}

fn manage_users(store: &Store, command: UsersCommand, json: bool) -> Result<u8, Failure> {
    match command {
        UsersCommand::List => {
            for user in users::list(store)? {
                if json {
                    print_json(&user);
                } else {
                    let password = if user.password {
                        "password"
                    } else {
                        "keys only"
                    };
                    say!("{:24} {:9} {password}", user.name, user.role);
                }
            }
        }
        UsersCommand::Add {
            name,
            role,
            no_password,
        } => {
            let password = (!no_password).then(password).transpose()?;
            let user = users::add(store, &name, role, password.as_deref())?;
            match json {
                true => print_json(&user),
                false => say!("{name} may use the service as {role}"),
            }
        }
        UsersCommand::Password { name } => {
            if !users::set_password(store, &name, &password()?)? {
                return Err(unknown(&name));
            }
            say!("{name} has another password, and must log in again");
        }
        UsersCommand::Remove { name } => {
            if !users::remove(store, &name)? {
                return Err(unknown(&name));
            }
            say!("{name} is gone, with all keys and sessions");
        }
    }
    Ok(DONE)
}

async fn manage_keys(store: &Store, command: KeysCommand, json: bool) -> Result<u8, Failure> {
    match command {
        KeysCommand::List { user } => {
            for key in keys::list(store, user.as_deref())? {
                if json {
                    print_json(&key);
                    continue;
                }
                let state = match (key.revoked, key.expires) {
                    (Some(_), _) => "revoked",
                    (None, Some(end)) if end <= super::db::now() => "expired",
                    _ => "",
                };
                let (id, user, role, name) = (key.id, key.user, key.role, key.name);
                say!("{id:14} {user:16} {role:9} {state:8} {name}");
            }
        }
        KeysCommand::Add {
            user,
            role,
            name,
            days,
        } => {
            let user = known(store, &user)?;
            let role = role.unwrap_or(user.role).min(user.role);
            let lifetime = days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
            let made = keys::make(store, (user.id, Kind::Key), (name, role), lifetime);
            let (id, key) = made.await?;
            if json {
                print_json(&json!({"id": id, "key": key, "role": role}));
            } else {
                // The key alone on standard output, for scripts.
                eprintln!(
                    "a key of {} with the role {role}, shown this once:",
                    user.name
                );
                say!("{key}");
            }
        }
        KeysCommand::Revoke { id } => {
            if !keys::revoke(store, id.clone(), None).await? {
                return Err(Failure::usage(format!("there is no key {id} that counts"))
                    .help("`gpak serve keys list` shows the ids"));
            }
            say!("{id} does not count any more");
        }
    }
    Ok(DONE)
}

/// A line of standard input; at a terminal it is not shown as it is typed.
fn password() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let failed = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("no password can be read: {why}"))
            .help("write it to standard input, as in: pass show gpak | gpak serve users add NAME")
    };
    let hidden = match stdin.is_terminal() {
        true => {
            let mut error = std::io::stderr();
            let _ = error.write_all(b"password: ").and_then(|()| error.flush());
            Some(Hidden::new().map_err(|why| failed(&why))?)
        }
        false => None,
    };
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if hidden.is_some() {
        eprintln!();
    }
    drop(hidden);
    read.map_err(|why| failed(&why))?;
    let password = line.trim_end_matches(['\r', '\n']);
    match password.is_empty() {
        true => Err(failed(&"there is none")),
        false => Ok(password.to_owned()),
    }
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(nix::sys::termios::Termios);

impl Hidden {
    fn new() -> nix::Result<Self> {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        use nix::sys::termios::{SetArg, tcsetattr};
        // If it cannot be put back, the shell does so.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}
