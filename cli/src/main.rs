//! The front door of gpak: the command line. The only place that wires parts together.

#[macro_use]
mod out;

mod acp;
mod aligning;
mod args;
mod bench;
mod chat;
mod choice;
mod commands;
mod crash;
mod failure;
mod home;
mod human;
mod link;
mod logging;
mod mcp;
mod minds;
mod pulling;
mod reflecting;
mod remembering;
mod serve;
mod servers;
mod settings;
mod show;
mod user_space;
mod who;
mod wire;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use gpak_kernel::model::embedded;

use crate::{
    args::{Cli, Command},
    failure::{DONE, Failure},
    home::Home,
};

fn main() -> ExitCode {
    embedded::share_cores();
    let cli = Cli::parse();
    let json = cli.json;
    match start(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let code = failure.code;
            report(failure, json);
            ExitCode::from(code)
        }
    }
}

fn report(failure: Failure, json: bool) {
    if json {
        let help = miette::Diagnostic::help(&failure).map(|help| help.to_string());
        commands::print_json(&serde_json::json!({"error": failure.to_string(), "help": help}));
    } else {
        eprintln!("gpak: {failure}");
        if let Some(help) = miette::Diagnostic::help(&failure) {
            eprintln!("  help: {help}");
        }
    }
}

fn start(cli: Cli) -> Result<u8, Failure> {
    let is_service = match &cli.command {
        Command::Serve(args) => args.command.is_none(),
        Command::Core(args) => args.command.is_none(),
        _ => false,
    };
    // Its deadlines are kept without a runtime, whose threads would be in the way.
    let cli = match cli.command {
        Command::Reflexd(args) => return commands::reflexd::reflexd(*args, cli.json),
        command => Cli { command, ..cli },
    };
    logging::begin(is_service);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|why| Failure::new(format!("this machine gives gpak no threads: {why}")))?;
    let done = runtime.block_on(dispatch(cli));
    // A person who was asked and never answered must not hold the process up.
    runtime.shutdown_background();
    done
}

async fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let home = Home::find()?;
    let json = cli.json;
    match cli.command {
        Command::Run(args) => commands::run::run(&home, args, json).await,
        Command::Chat(args) => chat::chat(&home, args, json).await,
        Command::Acp(args) => acp::acp(&home, args).await,
        Command::Mcp(args) => serve::mcp::stdio(&home, args).await,
        Command::Resume(args) => commands::run::resume(&home, args, json).await,
        Command::Runs(command) => commands::runs::runs(&home, command, json).await,
        Command::Undo { run } => commands::undo::undo(&home, run.as_deref(), json).await,
        Command::Tools(command) => commands::tools::tools(&home, command, json).await,
        Command::Models(command) => commands::models::models(&home, command, json).await,
        Command::Identity(command) => commands::identity::identity(&home, *command, json).await,
        Command::Core(args) => commands::core::core(&home, *args, json).await,
        Command::Memory(command) => commands::memory::memory(&home, command, json).await,
        Command::Serve(args) => serve::serve(&home, *args, json).await,
        Command::Reflexd(args) => commands::reflexd::reflexd(*args, json),
        Command::Robot(command) => commands::robot::robot(&home, *command, json).await,
        Command::Eval(args) => commands::eval::eval(&home, args, json).await,
        Command::Config(command) => commands::config::config(&home, command, json),
        Command::Doctor(place) => commands::doctor::doctor(&home, &place.workspace, json).await,
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "gpak", &mut std::io::stdout());
            Ok(DONE)
        }
    }
}
