//! Models on this machine, for people: the list, and fetching with progress.
//!
//! What is known of models and how they are fetched is in [`gpak_kernel::model::catalogue`].

use gpak_kernel::model::catalogue::{CatalogueError, Listed, Located, Network, State, Store};
use tokio_util::sync::CancellationToken;

mod progress;

pub use progress::Progress;

/// The model of that name, fetched if it is not here yet. Blocks; `cancel` stops it, and the next call
/// goes on from there.
///
/// # Errors
/// A [`CatalogueError`] that says what to do.
pub fn ready(store: &Store, id: &str, cancel: &CancellationToken) -> Result<Located, CatalogueError> {
    let mut progress = Progress::new(id, cancel.clone());
    match store.locate(id, &mut progress) {
        Err(CatalogueError::Absent { .. }) => fetch(store, id, &mut progress),
        other => other,
    }
}

/// Fetches the model of that name, unless it is here and sound; a damaged one is fetched again. Blocks.
///
/// # Errors
/// A [`CatalogueError`] that says what to do.
pub fn pull(store: &Store, id: &str, cancel: &CancellationToken) -> Result<Located, CatalogueError> {
    fetch(store, id, &mut Progress::new(id, cancel.clone()))
}

fn fetch(store: &Store, id: &str, progress: &mut Progress) -> Result<Located, CatalogueError> {
    if let Some(entry) = store.catalogue().get(id) {
        let dir = store.dir().display();
        progress.say(&format!("{}, {}, {}, into {dir}", entry.title, bytes(entry.bytes), entry.licence));
    }
    let located = store.pull(id, &Network::default(), progress);
    progress.end(located.is_ok());
    located
}

/// The list of models as a table.
pub fn table(models: &[Listed]) -> String {
    let rows: Vec<[String; 5]> = models.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(model: &Listed) -> [String; 5] {
    let here = match &model.state {
        State::Here { .. } => "here".to_owned(),
        State::Partial { bytes: have } => format!("{} fetched", bytes(*have)),
        State::Absent => "not here".to_owned(),
        State::Damaged { .. } => format!("damaged; gpak models pull {}", model.id),
    };
    let Some(entry) = &model.entry else {
        let size = match &model.state {
            State::Here { bytes: size } => bytes(*size),
            _ => String::new(),
        };
        return [model.id.clone(), size, String::new(), here, "added by you".to_owned()];
    };
    let default = if entry.default { " (default)" } else { "" };
    [format!("{}{default}", model.id), bytes(entry.bytes), entry.licence.clone(), here, entry.note.clone()]
}

/// `1.1 GB` and the like.
pub(crate) fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.2} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.0} MB", c / 1e6),
        c => format!("{:.0} kB", c / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use gpak_kernel::model::catalogue::Catalogue;

    use super::*;

    #[test]
    fn the_list_says_what_is_here_and_what_is_the_default() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("smollm2-135m-instruct-q4_1.gguf"), "GGUF cut off").unwrap();
        std::fs::write(dir.path().join("mine.gguf"), "GGUF").unwrap();
        std::fs::create_dir(dir.path().join(".partial")).unwrap();
        let part = dir.path().join(".partial/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf.part");
        std::fs::write(part, vec![0; 5_000_000]).unwrap();
        let text = table(&Store::new(Catalogue::builtin().unwrap(), dir.path()).list());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("embedded/qwen2.5-coder-1.5b-instruct (default)  1.12 GB  Apache-2.0  not here"), "{text}");
        assert!(lines[1].contains("5 MB fetched"), "{text}");
        assert!(lines[2].contains("damaged; gpak models pull embedded/smollm2-135m-instruct"), "{text}");
        assert!(lines[3].starts_with("embedded/mine ") && lines[3].contains("added by you"), "{text}");
    }

    #[test]
    fn a_cancelled_pull_stops_before_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Catalogue::builtin().unwrap(), dir.path());
        let cancel = CancellationToken::new();
        cancel.cancel();
        let error = pull(&store, "smollm2-135m-instruct", &cancel).unwrap_err();
        assert!(matches!(error, CatalogueError::Cancelled), "{error}");
    }
}
