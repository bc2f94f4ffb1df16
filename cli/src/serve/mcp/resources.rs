//! Runs as resources, for a client to read: what happened, for people and as entries.

use futures::StreamExt;
use gpak_kernel::{
    event::RunId,
    journal::{RunFilter, RunSummary},
};
use rmcp::{
    ErrorData,
    model::{Resource, ResourceContents, ResourceTemplate},
};
use serde_json::json;

use super::host::{By, Host};
use crate::{
    serve::{
        problem::{Answered, Problem},
        work::request_of,
    },
    show::{one_line, shorten, tree::Family},
};

/// Runs that are listed, the latest first, and how many are looked at for them.
const LISTED: usize = 50;
const LOOKED_AT: usize = 500;
/// Characters of a task that name its run.
const NAME: usize = 80;

const RUNS: &str = "gpak://runs/";
const EVENTS: &str = "/events";
/// The argument of both templates.
pub const RUN: &str = "run";

/// The kinds of resources there are, by the address of a run's.
pub fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(format!("{RUNS}{{{RUN}}}"), "run")
            .with_description("What happened in a run, as a tree of its steps.")
            .with_mime_type("text/plain"),
        ResourceTemplate::new(format!("{RUNS}{{{RUN}}}{EVENTS}"), "run events")
            .with_description("The entries of a run's journal, a line of JSON each.")
            .with_mime_type("application/x-ndjson"),
    ]
}

/// The latest runs that a client's user asked for.
pub async fn list(host: &Host, by: &By) -> Answered<Vec<Resource>> {
    let runs = own(host, by, LISTED, |_| true).await?;
    let listed = runs.into_iter().map(|summary| {
        let name = shorten(&one_line(&summary.task), NAME);
        let (status, created) = (summary.status, summary.created);
        Resource::new(format!("{RUNS}{}", summary.run), name)
            .with_description(format!("{status}, of {created}"))
            .with_mime_type("text/plain")
    });
    Ok(listed.collect())
}

/// Ids of runs that begin so.
pub async fn ids(host: &Host, by: &By, prefix: &str, most: usize) -> Answered<Vec<String>> {
    let begins = |run: &RunId| run.to_string().starts_with(prefix);
    let runs = own(host, by, most, begins).await?;
    Ok(runs.iter().map(|summary| summary.run.to_string()).collect())
}

async fn own(
    host: &Host,
    by: &By,
    most: usize,
    is: impl Fn(&RunId) -> bool,
) -> Answered<Vec<RunSummary>> {
    let journal = host.work.journal();
    let filter = RunFilter {
        limit: Some(LOOKED_AT),
        whole: true,
        ..RunFilter::default()
    };
    let mut own = Vec::new();
    for summary in journal.runs(&filter).await? {
        if own.len() == most {
            break;
        }
        if !is(&summary.run) {
            continue;
        }
        // Who asked for a run stands behind its task.
        let mut first = Vec::new();
        let mut entries = journal.watch(summary.run, 1).take(2);
        while first.len() < 2.min(summary.entries as usize)
            && let Some(entry) = entries.next().await
        {
            first.push(entry?);
        }
        if request_of(&first).is_some_and(|request| request.by == by.name) {
            own.push(summary);
        }
    }
    Ok(own)
}

/// What is at that address.
///
/// # Errors
/// If there is nothing, or nothing of that client's user.
pub async fn read(host: &Host, by: &By, uri: &str) -> Result<ResourceContents, ErrorData> {
    let missing =
        |why: &str| ErrorData::resource_not_found(why.to_owned(), Some(json!({"uri": uri})));
    let named = uri.strip_prefix(RUNS);
    let named = named.ok_or_else(|| {
        missing("there is no such resource; resources/list lists those there are")
    })?;
    let (id, events) = match named.strip_suffix(EVENTS) {
        Some(id) => (id, true),
        None => (named, false),
    };
    let run = host.own(by, id).await;
    let run = run.map_err(|why| missing(&why.detail))?;
    let read = if events {
        lines(host, run).await
    } else {
        let family = Family::read(host.work.journal(), run).await;
        family
            .map(|family| family.tree(run, true))
            .map_err(Problem::from)
    };
    let text = read.map_err(super::server::internal)?;
    let kind = match events {
        true => "application/x-ndjson",
        false => "text/plain",
    };
    Ok(ResourceContents::text(text, uri).with_mime_type(kind))
}

async fn lines(host: &Host, run: RunId) -> Answered<String> {
    let mut text = String::new();
    for entry in host.work.journal().read(run, 1).await? {
        text += &serde_json::to_string(&entry).map_err(Problem::internal)?;
        text.push('\n');
    }
    Ok(text)
}
