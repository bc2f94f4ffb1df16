//! Checks histories, and moves them and the secret key between machines.

use std::path::Path;

use gpak_kernel::identity::{History, PublicKey, Refusal, Version};
use gpak_memory::{IdentityError, IdentityStore};
use serde_json::json;

use super::{history, tell};
use crate::{
    commands::print_json,
    failure::{DONE, FAILED, Failure, file},
    show,
};

/// The versions in a file, read and not yet checked.
fn read(path: &Path) -> Result<Result<Vec<Version>, Refusal>, Failure> {
    let bytes = std::fs::read(path).map_err(file(path))?;
    let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let lines = (1..).zip(lines.split(|byte| *byte == b'\n'));
    Ok(lines
        .map(|(number, line)| Version::read(line, number))
        .collect())
}

/// `gpak identity verify`
pub fn verify(
    store: &IdentityStore,
    path: Option<&Path>,
    key: Option<PublicKey>,
    json: bool,
) -> Result<u8, Failure> {
    let verified = match path {
        None => match store.history() {
            Err(why @ (IdentityError::Refused(_) | IdentityError::Gone { .. })) => {
                Err(why.to_string())
            }
            other => Ok(other?.ok_or(IdentityError::None)?),
        },
        Some(path) => {
            let (identity, key) = trusted(store, key)?;
            let opened = read(path)?.and_then(|versions| History::open(key, identity, versions));
            opened.map_err(|why| why.to_string())
        }
    };
    match verified {
        Ok(history) if json => print_json(&tell::name(&history)),
        Ok(history) => say!(
            "✓ {} of {} ({}), none changed",
            show::counted(history.latest(), "version"),
            history.capsule().core.name,
            history.identity()
        ),
        Err(why) => {
            match json {
                true => print_json(&json!({"broken": why})),
                false => say!("✗ {why}"),
            }
            return Ok(FAILED);
        }
    }
    Ok(DONE)
}

type Trusted = (Option<gpak_kernel::identity::IdentityId>, PublicKey);

/// Who a file must be of: whom the user names, or the identity that is here.
fn trusted(store: &IdentityStore, key: Option<PublicKey>) -> Result<Trusted, Failure> {
    match (store.trusted()?, key) {
        (Some((identity, here)), None) => Ok((Some(identity), here)),
        (Some((identity, here)), Some(key)) if key == here => Ok((Some(identity), key)),
        (_, Some(key)) => Ok((None, key)),
        (None, None) => Err(Failure::usage(
            "it is not known whose the file must be: there is no identity here, and no key is named",
        )
        .help(
            "`gpak identity key` shows the public key on the machine where it was made; name it with --key",
        )),
    }
}

/// `gpak identity export`
pub fn export(store: &IdentityStore, output: Option<&Path>, json: bool) -> Result<u8, Failure> {
    let history = history(store)?;
    let lines = history.versions().iter().map(Version::line);
    let text: String = lines.map(|line| line + "\n").collect();
    let Some(path) = output else {
        say_text!("{text}");
        return Ok(DONE);
    };
    std::fs::write(path, text).map_err(file(path))?;
    if json {
        print_json(&tell::name(&history));
    } else {
        say!("{} exported", show::counted(history.latest(), "version"));
    }
    Ok(DONE)
}

/// `gpak identity import`
pub fn import(
    store: &IdentityStore,
    path: &Path,
    key: Option<PublicKey>,
    json: bool,
) -> Result<u8, Failure> {
    let here = store.trusted()?;
    if let (Some((_, here)), Some(key)) = (here, key)
        && here != key
    {
        return Err(Failure::usage(format!(
            "the identity that is here is signed with {here}, not with {key}"
        ))
        .help("set GPAK_HOME to another folder for another identity"));
    }
    let (identity, key) = trusted(store, key)?;
    let versions = read(path)??;
    let (history, new) = match here {
        None => {
            let history = History::open(key, identity, versions)?;
            store.adopt(&history)?;
            let new = history.latest();
            (history, new)
        }
        Some(_) => bring_up_to_date(store, key, versions)?,
    };
    if json {
        print_json(&json!({"imported": new, "name": tell::name(&history)}));
    } else {
        let name = &history.capsule().core.name;
        let new = show::counted(new, "version");
        say!("{new} imported; {name} is at version {}", history.latest());
    }
    Ok(DONE)
}

/// Takes what is new in the versions, or, where those that are here are damaged or gone, all of them.
fn bring_up_to_date(
    store: &IdentityStore,
    key: PublicKey,
    versions: Vec<Version>,
) -> Result<(History, u64), Failure> {
    match store.history() {
        Err(IdentityError::Gone { .. } | IdentityError::Refused(_)) => {
            let identity = store.trusted()?.map(|(identity, _)| identity);
            let copy = History::open(key, identity, versions)?;
            store.mend(&copy)?;
            let all = copy.latest();
            Ok((copy, all))
        }
        _ => {
            let mut new = 0;
            let history = store.extend(|history| {
                new = history.catch_up(versions)? as u64;
                Ok::<_, Failure>(())
            })?;
            Ok((history, new))
        }
    }
}

/// `gpak identity key`
pub fn key(
    store: &IdentityStore,
    export: Option<&Path>,
    import: Option<&Path>,
    json: bool,
) -> Result<u8, Failure> {
    let (identity, key) = store.trusted()?.ok_or(IdentityError::None)?;
    if let Some(path) = export {
        store.give_key(path)?;
    }
    if let Some(path) = import {
        store.take_key(path)?;
    }
    let secret = store.secret().map(drop);
    if json {
        print_json(&json!({"identity": identity, "key": key, "secret": secret.is_ok()}));
        return Ok(DONE);
    }
    say!("identity    {identity}");
    say!("public key  {key}");
    match secret {
        Ok(()) => say!("secret key  {}", store.key_file().display()),
        Err(IdentityError::NoKey(_)) => say!("secret key  not here"),
        Err(why) => return Err(why.into()),
    }
    Ok(DONE)
}
