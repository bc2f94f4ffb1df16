//! Facts that a model finds in the latest runs.

use gpak_kernel::{
    journal::RunFilter,
    memory::{
        Filter, Memory,
        facts::{self, FOUND},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    commands::print_json, failure::Failure, home::Home, settings::Settings, show::plain, wire,
};

/// Asks the model for the facts of the latest `runs` runs that are over and in which none were found yet.
pub async fn find(
    home: &Home,
    memory: &dyn Memory,
    model: &str,
    runs: usize,
    json: bool,
) -> Result<(), Failure> {
    let settings = Settings::read(home, std::path::Path::new("."))?;
    let stop = CancellationToken::new();
    let mind = wire::mind(home, &settings, Some(model), &stop).await?;
    let journal = wire::journal(home)?;
    let filter = RunFilter {
        limit: Some(runs),
        whole: true,
        ..RunFilter::default()
    };
    for summary in journal.runs(&filter).await? {
        let known = Filter {
            run: Some(summary.run),
            tags: vec![FOUND.to_owned()],
            past: true,
            ..Filter::default()
        };
        if !summary.status.is_final() || !memory.list(&known, 1).await?.is_empty() {
            continue;
        }
        let entries = journal.read(summary.run, 1).await?;
        let found = facts::find(mind.model.as_ref(), &entries).await;
        let mut found = found.map_err(|why| {
            Failure::new(format!("run {}: {why}", summary.run.short()))
                .help("what was found before is kept; the same command goes on")
        })?;
        for episode in &mut found {
            episode.namespace.clone_from(&settings.namespace.value);
        }
        for episode in &found {
            match json {
                true => print_json(episode),
                false => say!("{}: {}", summary.run.short(), plain(&episode.text)),
            }
        }
        if !found.is_empty() {
            memory.remember(found).await?;
        }
    }
    Ok(())
}
