//! What reads the file.

use std::{collections::BTreeMap, fs, path::Path};

use gpak_kernel::memory::{Episode, EpisodeId, Filter, MemoryError, Record, Stats, Vector};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    failure::Failure,
    index::{Index, Mark},
};

/// Reads an episode's JSON.
pub(super) fn parse(body: &str) -> Result<Episode, Failure> {
    serde_json::from_str(body).map_err(|e| {
        let message = format!("an episode in the memory was changed and cannot be read: {e}");
        MemoryError::Store(message).into()
    })
}

/// The episode of that name.
pub(super) fn get(connection: &Connection, id: EpisodeId) -> Result<Option<Episode>, Failure> {
    let mut select = connection.prepare_cached("SELECT body FROM episodes WHERE name = ?1")?;
    let body = select.query_row([id.0], |row| row.get::<_, String>(0));
    body.optional()?.map(|body| parse(&body)).transpose()
}

/// The row of the episode of that name, the episode, and how often it was used.
#[cfg(feature = "qdrant")]
pub(super) fn named(
    connection: &Connection,
    id: EpisodeId,
) -> Result<Option<(i64, Episode, u64)>, Failure> {
    let mut select = connection.prepare_cached("SELECT id FROM episodes WHERE name = ?1")?;
    let row: Option<i64> = select.query_row([id.0], |row| row.get(0)).optional()?;
    let Some(row) = row else { return Ok(None) };
    Ok(at_row(connection, row)?.map(|(episode, uses)| (row, episode, uses)))
}

/// The episode in that row, and how often it was used.
pub(super) fn at_row(connection: &Connection, row: i64) -> Result<Option<(Episode, u64)>, Failure> {
    let mut select = connection.prepare_cached("SELECT body, uses FROM episodes WHERE id = ?1")?;
    let found = select.query_row([row], |row| Ok((row.get(0)?, row.get(1)?)));
    let Some((body, uses)): Option<(String, i64)> = found.optional()? else {
        return Ok(None);
    };
    Ok(Some((parse(&body)?, uses.try_into().unwrap_or(0))))
}

/// Before or after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// The rows of up to `limit` turns of its conversation before or after a row, the nearest first.
pub(super) fn near(
    connection: &Connection,
    row: i64,
    side: Side,
    limit: usize,
) -> Result<Vec<i64>, Failure> {
    let (compare, order) = match side {
        Side::Before => ("<", "DESC"),
        Side::After => (">", "ASC"),
    };
    let mut select = connection.prepare_cached(&format!(
        "SELECT near.id FROM episodes AS this JOIN episodes AS near
         ON near.namespace = this.namespace AND near.conversation = this.conversation
         WHERE this.id = ?1 AND near.id {compare} ?1 ORDER BY near.id {order} LIMIT ?2"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = select.query_map([row, limit], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Those that the filter lets through, latest first.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Episode>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT body FROM episodes WHERE ?1 IS NULL OR namespace = ?1 ORDER BY at DESC, id DESC",
    )?;
    let mut rows = select.query([&filter.namespace])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let body: String = row.get(0)?;
        let episode = parse(&body)?;
        if filter.admits(&episode) {
            found.push(episode);
        }
    }
    Ok(found)
}

/// Records after that place.
pub(super) fn export(
    connection: &Connection,
    filter: &Filter,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<Record>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT episodes.id, name, body, uses, embedder, sum, data FROM episodes
         LEFT JOIN vectors ON vectors.id = episodes.id
         WHERE episodes.id > ?1 AND (?2 IS NULL OR namespace = ?2) ORDER BY episodes.id",
    )?;
    let after = after.map_or(0, |after| i64::try_from(after).unwrap_or(i64::MAX));
    let mut rows = select.query(params![after, filter.namespace])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let body: String = row.get(2)?;
        let episode = parse(&body)?;
        if !filter.admits(&episode) {
            continue;
        }
        let embedder: Option<String> = row.get(4)?;
        let vector = match embedder {
            Some(embedder) => Some(Vector {
                embedder,
                values: checked(row.get(5)?, row.get(6)?),
            }),
            None => None,
        };
        found.push(Record {
            place: row.get::<_, i64>(0)?.try_into().unwrap_or(0),
            id: EpisodeId(row.get(1)?),
            episode,
            uses: row.get::<_, i64>(3)?.try_into().unwrap_or(0),
            vector: vector.filter(|vector| !vector.values.is_empty()),
        });
    }
    Ok(found)
}

/// The numbers of a vector; none if they are not what was written.
pub(super) fn checked(sum: Vec<u8>, data: Vec<u8>) -> Vec<i8> {
    if blake3::hash(&data).as_bytes().as_slice() != sum {
        tracing::warn!("a vector in the memory was changed; its episode is found by words only");
        return Vec::new();
    }
    data.iter().map(|byte| byte.cast_signed()).collect()
}

/// How far the file goes.
pub(super) fn mark(connection: &Connection) -> Result<Mark, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT generation, (SELECT max(id) FROM episodes), (SELECT max(seq) FROM gone),
                (SELECT max(seq) FROM revised)
         FROM state",
    )?;
    let mark = select.query_row([], |row| {
        Ok(Mark {
            generation: row.get(0)?,
            row: row.get::<_, Option<i64>>(1)?.unwrap_or(0),
            gone: row.get::<_, Option<i64>>(2)?.unwrap_or(0),
            revised: row.get::<_, Option<i64>>(3)?.unwrap_or(0),
        })
    })?;
    Ok(mark)
}

/// Brings the index to what is in the file now. Vectors of other embedders are left out.
pub(super) fn catch_up(
    connection: &mut Connection,
    index: &mut Index,
    embedder: &str,
) -> Result<(), Failure> {
    // One look at one state of the file, whoever writes meanwhile.
    let transaction = connection.transaction()?;
    let now = mark(&transaction)?;
    if index.mark.generation != now.generation || index.is_worn() {
        *index = Index::new(index.dimension);
        index.mark = Mark { row: 0, ..now };
    }
    let mut select = transaction.prepare_cached("SELECT row FROM gone WHERE seq > ?1")?;
    let mut rows = select.query([index.mark.gone])?;
    while let Some(row) = rows.next()? {
        index.forget(row.get(0)?);
    }
    let mut select = transaction.prepare_cached(
        "SELECT DISTINCT revised.row, sum, data FROM revised
         JOIN vectors ON vectors.id = revised.row AND embedder = ?2
         WHERE seq > ?1 AND revised.row <= ?3",
    )?;
    let mut rows = select.query(params![index.mark.revised, embedder, index.mark.row])?;
    while let Some(row) = rows.next()? {
        index.revise(row.get(0)?, &checked(row.get(1)?, row.get(2)?));
    }
    let mut select = transaction.prepare_cached(
        "SELECT episodes.id, body, sum, data FROM episodes
         LEFT JOIN vectors ON vectors.id = episodes.id AND embedder = ?2
         WHERE episodes.id > ?1 ORDER BY episodes.id",
    )?;
    let mut rows = select.query(params![index.mark.row, embedder])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let vector = match row.get::<_, Option<Vec<u8>>>(2)? {
            Some(sum) => checked(sum, row.get(3)?),
            None => Vec::new(),
        };
        index.push(row.get(0)?, &parse(body)?, &vector);
    }
    index.mark = now;
    Ok(())
}

/// Up to `limit` rows whose vectors are not of that embedder, with their episodes.
pub(super) fn foreign(
    connection: &Connection,
    embedder: &str,
    limit: usize,
) -> Result<Vec<(i64, Episode)>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT episodes.id, body FROM episodes LEFT JOIN vectors ON vectors.id = episodes.id
         WHERE embedder IS NOT ?1 ORDER BY episodes.id DESC LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![embedder, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        found.push((row.get(0)?, parse(&body)?));
    }
    Ok(found)
}

/// How many numbers the vectors of that embedder have.
pub(super) fn dimension(connection: &Connection, embedder: &str) -> Result<Option<usize>, Failure> {
    let found = connection.query_row(
        "SELECT length(data) FROM vectors WHERE embedder = ?1 LIMIT 1",
        [embedder],
        |row| row.get::<_, i64>(0),
    );
    Ok(found.optional()?.and_then(|length| length.try_into().ok()))
}

/// How many rows have no vector of that embedder.
pub(super) fn foreign_count(connection: &Connection, embedder: &str) -> Result<u64, Failure> {
    let count: i64 = connection.query_row(
        "SELECT count(*) FROM episodes LEFT JOIN vectors ON vectors.id = episodes.id
         WHERE embedder IS NOT ?1",
        [embedder],
        |row| row.get(0),
    )?;
    Ok(count.try_into().unwrap_or(0))
}

/// What is in the file at `path`.
pub(super) fn stats(connection: &Connection, path: &Path) -> Result<Stats, Failure> {
    let count = |sql: &str| -> Result<BTreeMap<String, u64>, Failure> {
        let mut select = connection.prepare(sql)?;
        let rows = select.query_map([], |row| {
            let count: i64 = row.get(1)?;
            Ok((row.get(0)?, count.try_into().unwrap_or(0)))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    let bytes = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::metadata(name).map_or(0, |file| file.len())
    };
    Ok(Stats {
        namespaces: count("SELECT namespace, count(*) FROM episodes GROUP BY namespace")?,
        kinds: count("SELECT kind, count(*) FROM episodes GROUP BY kind")?,
        vectors: count("SELECT embedder, count(*) FROM vectors GROUP BY embedder")?,
        bytes: bytes("") + bytes("-wal"),
    })
}
