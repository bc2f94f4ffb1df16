//! Finding by words: what is indexed of an episode, and how a question becomes a query of FTS5.

use gpak_kernel::memory::Episode;
use rusqlite::{Connection, params};

/// Weights of the columns `speaker, text, caption, before, before2, after, date` in BM25. Measured on
/// conversations: what is said before and after a turn says what the turn is about.
const WEIGHTS: &str = "1.0, 1.5, 1.0, 0.8, 0.3, 0.3, 0.5";

/// Distinct words of a question that are looked for; more make it slow and not better.
const MOST_WORDS: usize = 48;

/// Bytes of a neighbour's text that are indexed with an episode.
const NEIGHBOUR: usize = 2048;

/// Words that are in every text and tell none from another.
const STOP: &str = "a about after again all also am an and any are as at be because been before being \
    between both but by can could did do does doing during each few for from further had has have \
    having he her here hers him his how i if in into is it its just me more most my no nor not of off \
    on once only or other our out over own s same she should so some such t than that the their them \
    then there these they this those through to too under until up very was we were what when where \
    which while who whom why will with would you your";

/// An episode that is indexed, with its neighbours in its conversation.
#[derive(Default, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) before: Option<&'a Episode>,
    pub(super) before2: Option<&'a Episode>,
    pub(super) after: Option<&'a Episode>,
}

/// Indexes the episode in row `id`, in place of what was indexed of it.
pub(super) fn index(
    connection: &Connection,
    id: i64,
    episode: &Episode,
    turn: Turn<'_>,
) -> rusqlite::Result<()> {
    remove(connection, id)?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO words (rowid, speaker, text, caption, before, before2, after, date)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let date = episode.at.strftime("%A %-d %B %Y").to_string();
    insert.execute(params![
        id,
        clean(episode.speaker.as_deref().unwrap_or_default()),
        clean(&format!("{} {}", episode.text, episode.tags.join(" "))),
        clean(episode.caption.as_deref().unwrap_or_default()),
        neighbour(turn.before),
        neighbour(turn.before2),
        neighbour(turn.after),
        date,
    ])?;
    Ok(())
}

/// Takes the episode in row `id` out of the index.
pub(super) fn remove(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM words WHERE rowid = ?1")?;
    delete.execute([id])?;
    Ok(())
}

fn neighbour(episode: Option<&Episode>) -> String {
    let Some(episode) = episode else {
        return String::new();
    };
    let text = format!(
        "{} {}",
        episode.text,
        episode.caption.as_deref().unwrap_or_default()
    );
    let end = text.floor_char_boundary(NEIGHBOUR);
    clean(text.get(..end).unwrap_or_default())
}

/// SQLite takes a NUL for the end of a text.
fn clean(text: &str) -> String {
    text.replace('\0', " ")
}

/// The words of a question, once each, in small letters; without those that are everywhere, unless
/// it has no others.
pub(super) fn words_of(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        let word = word.to_lowercase();
        if !word.is_empty() && !all.contains(&word) {
            all.push(word);
        }
        if all.len() >= MOST_WORDS {
            break;
        }
    }
    let telling = |word: &&String| !STOP.split_ascii_whitespace().any(|stop| stop == *word);
    let told: Vec<String> = all.iter().filter(telling).cloned().collect();
    if told.is_empty() { all } else { told }
}

/// The best matches of the words in a namespace (in all, if none is given): row and score, larger is
/// better, best first.
pub(super) fn search(
    connection: &Connection,
    words: &[String],
    namespace: Option<&str>,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, f32)>> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let sql = format!(
        "SELECT words.rowid, -bm25(words, {WEIGHTS}) AS score FROM words
         JOIN episodes ON episodes.id = words.rowid
         WHERE words MATCH ?1 AND (?2 IS NULL OR episodes.namespace = ?2)
         ORDER BY score DESC, words.rowid LIMIT ?3"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = select.query_map(params![quoted.join(" OR "), namespace, limit], |row| {
        Ok((row.get(0)?, row.get::<_, f64>(1)? as f32))
    })?;
    found.collect()
}
