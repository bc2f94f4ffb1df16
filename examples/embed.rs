//! gpak's kernel in a program of your own.
//!
//! `cargo run --release --example embed -- model.gguf "What is in this folder?"`

use std::{error::Error, sync::Arc};

use gpak_kernel::{
    context,
    event::{RunId, RunSpec},
    journal::MemoryJournal,
    model::{Model, embedded::Embedded},
    policy::{Budget, Permissions},
    run::{Driver, Nobody, Resumption, SystemClock},
    tool::Toolbox,
};
use gpak_tools::builtin;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(task)) = (args.next(), args.next()) else {
        return Err("usage: embed MODEL.gguf TASK".into());
    };
    let model = Embedded::open(file, Default::default())?;
    let spec = RunSpec {
        task,
        workspace: std::env::current_dir()?,
        model: model.profile().id(),
        budget: Budget::default(),
        permissions: Permissions::default(), // looks, and changes nothing
        attended: false,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy: None,
        parent: None,
    };
    let driver = Driver {
        journal: Arc::new(MemoryJournal::default()),
        model: Arc::new(model),
        toolbox: Toolbox::new(builtin::all(&builtin::Options::new(
            std::env::temp_dir().join("undo"),
        )))?,
        human: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        instructions: context::INSTRUCTIONS.to_owned(),
        repository: Default::default(),
        remembering: None,
        introduced: None,
        stop: Default::default(),
    };
    let run = RunId::random();
    driver.create(run, spec).await?;
    println!(
        "{:?}",
        driver.drive(run, Resumption::default(), &mut ()).await?
    );
    Ok(())
}
