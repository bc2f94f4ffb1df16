//! Entries and lines about runs, as rows.

use std::borrow::Cow;

use gpak_kernel::{
    entry::{ChainError, Entry, Hash, Head, Stored},
    event::RunId,
    journal::{JournalError, RunFilter, RunSummary},
    run::Status,
};
use jiff::Timestamp;
use rusqlite::{
    Connection, OptionalExtension, Row, ToSql, Transaction, TransactionBehavior, params,
};
use serde_json::Value;

use super::{failure::Failure, payload};

/// A run's row.
struct RunRow {
    id: i64,
    head: Head,
    summary: RunSummary,
}

const RUN_COLUMNS: &str = "id, run, task, status, created, updated, head_seq, head_hash, parent";

/// Appends entries of `run`, all or none. Answers the head after them.
pub(super) fn append(
    connection: &mut Connection,
    run: RunId,
    entries: &[Entry],
) -> Result<Head, Failure> {
    // Others wait for us from the beginning, rather than fail at the end.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let row = run_row(&transaction, run)?;
    let mut head = row.as_ref().map_or(Head::EMPTY, |row| row.head);
    let mut id = row.as_ref().map(|row| row.id);
    let mut summary = row.map(|row| row.summary);
    for entry in entries {
        if entry.run != run || entry.seq != head.seq + 1 || entry.prev != head.hash {
            return Err(Failure::Journal(JournalError::Conflict {
                run: entry.run,
                expected: entry.seq,
            }));
        }
        summary = RunSummary::after(summary.take(), entry);
        let Some(summary) = &summary else {
            return Err(Failure::Journal(JournalError::Store(format!(
                "run {run} does not begin with its creation, so it was not written"
            ))));
        };
        let run_id = match id {
            Some(id) => id,
            None => *id.insert(insert_run(&transaction, summary, entry.head())?),
        };
        insert_entry(&transaction, run_id, entry, head)?;
        head = entry.head();
    }
    if let (Some(id), Some(summary)) = (id, summary) {
        let mut update = transaction.prepare_cached(
            "UPDATE runs SET status = ?2, updated = ?3, head_seq = ?4, head_hash = ?5 WHERE id = ?1",
        )?;
        update.execute(params![
            id,
            summary.status.to_string(),
            sortable(summary.updated),
            integer(head.seq),
            head.hash.0,
        ])?;
    }
    transaction.commit()?;
    Ok(head)
}

fn insert_run(
    transaction: &Transaction<'_>,
    summary: &RunSummary,
    head: Head,
) -> rusqlite::Result<i64> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO runs (run, task, status, created, updated, head_seq, head_hash, parent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    insert.insert(params![
        summary.run.to_string(),
        summary.task,
        summary.status.to_string(),
        sortable(summary.created),
        sortable(summary.updated),
        integer(head.seq),
        head.hash.0,
        summary.parent.map(|parent| parent.to_string()),
    ])
}

fn insert_entry(
    transaction: &Transaction<'_>,
    run_id: i64,
    entry: &Entry,
    before: Head,
) -> Result<(), Failure> {
    let body = entry.body();
    // What would not be read back must not be written.
    Entry::open(stored(entry, &body), before)?;
    let split = payload::split(&body);
    let mut places = Vec::new();
    for (at, data) in split.iter().flat_map(|split| &split.payloads) {
        let hash = payload::hash(data);
        // One that was changed since it was stored is put right.
        let mut insert = transaction.prepare_cached(
            "INSERT INTO payloads (hash, data) VALUES (?1, ?2)
             ON CONFLICT (hash) DO UPDATE SET data = excluded.data WHERE data IS NOT excluded.data",
        )?;
        insert.execute(params![hash.0, data])?;
        places.push((*at, hash));
    }
    let places = split.as_ref().map(|_| as_list(&places));
    let mut insert = transaction.prepare_cached(
        "INSERT INTO entries (run, seq, time, label, prev, hash, body, payloads)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    insert.execute(params![
        run_id,
        integer(entry.seq),
        entry.time.to_string(),
        entry.label.to_string(),
        entry.prev.0,
        entry.hash.0,
        split.as_ref().map_or(&body, |split| &split.body),
        places,
    ])?;
    Ok(())
}

fn stored<'a>(entry: &Entry, body: &'a str) -> Stored<'a> {
    Stored {
        run: entry.run,
        seq: entry.seq,
        time: entry.time,
        label: entry.label.clone(),
        prev: entry.prev,
        hash: entry.hash,
        body,
    }
}

/// The entries of `run` numbered `from` and up.
pub(super) fn read(
    connection: &mut Connection,
    run: RunId,
    from: u64,
) -> Result<Vec<Entry>, Failure> {
    // One transaction, so that the row and the entries are of one moment.
    let transaction = connection.transaction()?;
    let row = run_row(&transaction, run)?.ok_or(JournalError::NoRun(run))?;
    let from = from.max(1);
    let mut head = head_before(&transaction, &row, from)?;
    let mut select = transaction.prepare_cached(
        "SELECT seq, time, label, prev, hash, body, payloads FROM entries
         WHERE run = ?1 AND seq >= ?2 ORDER BY seq",
    )?;
    // From the first on, whatever has no business before it is to be found as well.
    let lowest = if from == 1 { i64::MIN } else { integer(from) };
    let mut rows = select.query(params![row.id, lowest])?;
    let mut entries = Vec::new();
    while let Some(found) = rows.next()? {
        let entry = open_entry(&transaction, run, head, found)?;
        head = entry.head();
        entries.push(entry);
    }
    if head != row.head && (from <= row.head.seq + 1 || !entries.is_empty()) {
        let seq = head.seq.min(row.head.seq) + 1;
        return Err(ChainError::Unchained { run, seq }.into());
    }
    if from == 1 {
        compare(&row.summary, &entries)?;
    }
    Ok(entries)
}

/// What entry `from` is chained to.
fn head_before(transaction: &Transaction<'_>, row: &RunRow, from: u64) -> Result<Head, Failure> {
    let (run, seq) = (row.summary.run, from - 1);
    if seq == 0 {
        return Ok(Head::EMPTY);
    }
    if seq > row.head.seq {
        return Ok(Head {
            seq,
            hash: Hash::ZERO,
        });
    }
    let mut select =
        transaction.prepare_cached("SELECT hash FROM entries WHERE run = ?1 AND seq = ?2")?;
    let found = select.query_row(params![row.id, integer(seq)], |row| row.get(0));
    match found.optional().map_err(|e| unreadable(run, seq, e))? {
        Some(hash) => Ok(Head {
            seq,
            hash: Hash(hash),
        }),
        None => Err(ChainError::Unchained { run, seq: from }.into()),
    }
}

fn open_entry(
    transaction: &Transaction<'_>,
    run: RunId,
    head: Head,
    row: &Row<'_>,
) -> Result<Entry, Failure> {
    let seq = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
    let broken = |e| unreadable(run, seq, e);
    let no = |message: String| Failure::from(ChainError::Unreadable { run, seq, message });
    let text = |column| row.get_ref(column).map(|value| value.as_str());
    let text = |column| match text(column) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(e)) => Err(no(e.to_string())),
        Err(e) => Err(broken(e)),
    };
    let written = text(1)?;
    let time: Timestamp = written
        .parse()
        .map_err(|e: jiff::Error| no(e.to_string()))?;
    if time.to_string() != written {
        return Err(ChainError::Changed { run, seq }.into());
    }
    let places: Option<String> = row.get(6).map_err(broken)?;
    let mut body = Cow::Borrowed(text(5)?);
    if let Some(places) = places {
        body = Cow::Owned(restore(transaction, &body, &places)?.map_err(no)?);
    }
    let stored = Stored {
        run,
        seq,
        time,
        label: text(2)?.parse().map_err(no)?,
        prev: Hash(row.get(3).map_err(broken)?),
        hash: Hash(row.get(4).map_err(broken)?),
        body: &body,
    };
    Ok(Entry::open(stored, head)?)
}

/// Puts the payloads back into a body. The inner error says why they do not fit.
fn restore(
    transaction: &Transaction<'_>,
    body: &str,
    list: &str,
) -> Result<Result<String, String>, Failure> {
    let changed = || "its list of payloads was changed".to_owned();
    let places = match serde_json::from_str::<Vec<(usize, Hash)>>(list) {
        Ok(places) if !places.is_empty() && as_list(&places) == list => places,
        _ => return Ok(Err(changed())),
    };
    let mut select = transaction.prepare_cached("SELECT data FROM payloads WHERE hash = ?1")?;
    let mut payloads = Vec::new();
    for (at, hash) in places {
        let data = select.query_row([hash.0], |row| row.get::<_, String>(0));
        match data.optional() {
            Ok(Some(data)) => payloads.push((at, data)),
            Ok(None) => return Ok(Err(format!("its payload {hash} is missing"))),
            Err(e) if is_misfit(&e) => return Ok(Err(e.to_string())),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(payload::join(body, &payloads).ok_or_else(changed))
}

/// Where payloads belong, as `entries.payloads` has it.
fn as_list(places: &[(usize, Hash)]) -> String {
    serde_json::json!(places).to_string()
}

/// Checks the line about a run against all its entries.
///
/// Not the status: another version of gpak may see it otherwise in the same entries. It is what the
/// list of runs shows, and nothing else is decided by it.
fn compare(line: &RunSummary, entries: &[Entry]) -> Result<(), JournalError> {
    let fold = |line: Option<RunSummary>, entry| RunSummary::after(line, entry);
    let Some(told) = entries.iter().fold(None, fold) else {
        return Ok(());
    };
    let run = line.run;
    if told.status != line.status {
        tracing::warn!(%run, listed = %line.status, is = %told.status, "the list of runs is wrong");
    }
    let status = line.status;
    if *line == (RunSummary { status, ..told }) {
        return Ok(());
    }
    Err(JournalError::Store(format!(
        "the line about run {run} in the list of runs was changed after it was written: it is not what \
         the run's entries say"
    )))
}

/// The head of `run`.
pub(super) fn head(connection: &mut Connection, run: RunId) -> Result<Head, Failure> {
    let row = run_row(connection, run)?;
    Ok(row.ok_or(JournalError::NoRun(run))?.head)
}

fn run_row(connection: &Connection, run: RunId) -> Result<Option<RunRow>, Failure> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE run = ?1");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([run.to_string()])?;
    rows.next()?.map(open_run).transpose()
}

/// The lines about the runs that are meant, newest first.
pub(super) fn runs(
    connection: &mut Connection,
    filter: &RunFilter,
) -> Result<Vec<RunSummary>, Failure> {
    let status = filter.status.map(|status| status.to_string());
    let limit = filter
        .limit
        .map_or(-1, |limit| i64::try_from(limit).unwrap_or(-1));
    let mut wanted = String::from("TRUE");
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":limit", &limit)];
    if let Some(prefix) = &filter.prefix {
        // Ids are hex digits, which all come before `g`.
        wanted.push_str(" AND run >= :prefix AND run < :prefix || 'g'");
        values.push((":prefix", prefix));
    }
    if let Some(status) = &status {
        wanted.push_str(" AND status = :status");
        values.push((":status", status));
    }
    if filter.whole {
        wanted.push_str(" AND parent IS NULL");
    }
    let sql = format!(
        "SELECT {RUN_COLUMNS} FROM runs WHERE {wanted} ORDER BY created DESC, id DESC LIMIT :limit"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(values.as_slice())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(open_run(row)?.summary);
    }
    Ok(found)
}

fn open_run(row: &Row<'_>) -> Result<RunRow, Failure> {
    let name: String = row.get(1)?;
    let changed = |column: &str| {
        Failure::Journal(JournalError::Store(format!(
            "the line about run {name} in the list of runs was changed after it was written: its \
             {column} makes no sense"
        )))
    };
    let time = |column, of: &str| {
        let text: String = row.get(column).map_err(|_| changed(of))?;
        text.parse::<Timestamp>().map_err(|_| changed(of))
    };
    let status = Value::String(row.get(3).map_err(|_| changed("status"))?);
    let status: Status = serde_json::from_value(status).map_err(|_| changed("status"))?;
    let seq: i64 = row.get(6)?;
    let head = Head {
        seq: u64::try_from(seq).map_err(|_| changed("head_seq"))?,
        hash: Hash(row.get(7).map_err(|_| changed("head_hash"))?),
    };
    let parent: Option<String> = row.get(8).map_err(|_| changed("parent"))?;
    let parent = parent.map(|parent| parent.parse().map_err(|_| changed("parent")));
    let summary = RunSummary {
        parent: parent.transpose()?,
        run: name.parse().map_err(|_| changed("run"))?,
        task: row.get(2).map_err(|_| changed("task"))?,
        status,
        created: time(4, "created")?,
        updated: time(5, "updated")?,
        entries: head.seq,
    };
    let id = row.get(0)?;
    Ok(RunRow { id, head, summary })
}

/// A column that does not hold what it should is a changed entry; all else is SQLite's.
fn unreadable(run: RunId, seq: u64, error: rusqlite::Error) -> Failure {
    if !is_misfit(&error) {
        return error.into();
    }
    let message = error.to_string();
    ChainError::Unreadable { run, seq, message }.into()
}

/// Whether SQLite did its work, but a column holds something of another kind than it should.
fn is_misfit(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, InvalidColumnType, Utf8Error};
    matches!(
        error,
        FromSqlConversionFailure(..) | InvalidColumnType(..) | Utf8Error(..)
    )
}

/// RFC 3339 with nine decimals: sorts as text as it does as time.
fn sortable(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// SQLite's integers are signed; no run has 2⁶³ entries.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
