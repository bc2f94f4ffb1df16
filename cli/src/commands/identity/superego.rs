//! `gpak identity reflect`, and what is left for a person to decide.

use gpak_kernel::identity::reflection::Proposal;
use serde_json::json;

use super::{
    args::{ProposalCommand, ReflectArgs},
    tell,
};
use crate::{
    commands::{print_json, run::stop_on_ctrl_c},
    failure::{DONE, Failure, NEEDS_APPROVAL},
    home::Home,
    reflecting::{Came, Reflecting, Then},
    remembering,
    settings::Settings,
    show, wire,
};

/// `gpak identity reflect`
pub async fn reflect(home: &Home, args: ReflectArgs, json: bool) -> Result<u8, Failure> {
    let settings = Settings::read(home, &wire::workspace(&home.data)?)?;
    let reflecting = Reflecting::new(home, &settings.namespace.value, args.scenarios);
    if args.again {
        reflecting.read_again()?;
    }
    let stop = stop_on_ctrl_c();
    let mind = match &args.model {
        Some(model) => wire::mind(home, &settings, Some(model), &stop).await?,
        None => wire::mind_at_hand(home, &settings, json, &stop).await?,
    };
    let memory = remembering::open(home, &settings).await?;
    let (mut read, mut code) = (0, DONE);
    loop {
        let next = reflecting.next(mind.model.as_ref(), memory.as_ref());
        let came = tokio::select! {
            came = next => came?,
            () = stop.cancelled() => return Err(gpak_kernel::model::ModelError::Cancelled.into()),
        };
        let Some(came) = came else {
            break;
        };
        read += came.read;
        if let Then::Kept(_) = came.then {
            code = NEEDS_APPROVAL;
        }
        tell_came(&came, json)?;
    }
    if read == 0 && !json {
        say!("nothing was experienced since the last reflection");
    }
    Ok(code)
}

/// Says what came of reading some experiences.
pub fn tell_came(came: &Came, json: bool) -> Result<(), Failure> {
    if json {
        let (version, kept) = match &came.then {
            Then::Nothing => (None, None),
            Then::Signed(history) => (Some(history.latest()), None),
            Then::Kept(number) => (None, Some(number)),
        };
        print_json(&json!({
            "read": came.read, "proposal": came.proposal, "version": version, "kept": kept,
        }));
        return Ok(());
    }
    let read = show::counted(came.read as u64, "experience");
    match &came.then {
        Then::Nothing => say!("{read}: nothing to learn"),
        Then::Signed(history) => {
            say!("{read}: {}", tried(&came.proposal));
            tell::latest(history, false)?;
        }
        Then::Kept(number) => {
            say!("{read}: proposal {number} is kept for you and not signed");
            tell_proposal(*number, &came.proposal);
        }
    }
    for left in &came.proposal.left_out {
        let proposed = show::shorten(&show::one_line(&left.proposed), 90);
        say!("  left out, as {}: {proposed}", left.why);
    }
    Ok(())
}

fn tried(proposal: &Proposal) -> String {
    let right = proposal.after.iter().filter(|played| played.right).count();
    format!(
        "right in {right} of {}",
        show::counted(proposal.after.len() as u64, "scenario")
    )
}

fn tell_proposal(number: u32, proposal: &Proposal) {
    for edit in &proposal.edits {
        say!("  {}", tell::told(edit));
    }
    if let Some(why) = &proposal.refused {
        say!("  not signed: {why}");
    }
    say!("  `gpak identity proposals accept {number}` signs it, `discard {number}` throws it away");
}

/// `gpak identity proposals`
pub fn proposals(home: &Home, command: Option<ProposalCommand>, json: bool) -> Result<u8, Failure> {
    let settings = Settings::read(home, &wire::workspace(&home.data)?)?;
    let reflecting = Reflecting::new(home, &settings.namespace.value, None);
    match command {
        None => list(&reflecting, json),
        Some(ProposalCommand::Accept { number }) => tell::latest(&reflecting.accept(number)?, json),
        Some(ProposalCommand::Discard { number }) => {
            reflecting.discard(number)?;
            if json {
                print_json(&json!({"discarded": number}));
            }
            Ok(DONE)
        }
    }
}

fn list(reflecting: &Reflecting, json: bool) -> Result<u8, Failure> {
    let waiting = reflecting.waiting()?;
    if waiting.is_empty() && !json {
        say!("no proposal waits");
    }
    for number in waiting {
        let kept = reflecting.kept(number)?;
        if json {
            print_json(&json!({"number": number, "at": kept.at, "proposal": kept.proposal}));
            continue;
        }
        let at = kept.at.strftime("%Y-%m-%d %H:%M");
        say!("{number:>4}  {at}  for version {}", kept.proposal.base);
        tell_proposal(number, &kept.proposal);
    }
    Ok(DONE)
}
