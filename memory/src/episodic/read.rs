//! What reads the file.

use std::{collections::BTreeMap, fs, path::Path};

use gpak_kernel::memory::{Episode, EpisodeId, Filter, MemoryError, Record, Stats, Vector};
use rusqlite::{Connection, OptionalExtension, params};

use super::{failure::Failure, index::Index};

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

/// The episode in that row.
pub(super) fn at_row(connection: &Connection, row: i64) -> Result<Option<Episode>, Failure> {
    let mut select = connection.prepare_cached("SELECT body FROM episodes WHERE id = ?1")?;
    let body = select.query_row([row], |row| row.get::<_, String>(0));
    body.optional()?.map(|body| parse(&body)).transpose()
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
fn checked(sum: Vec<u8>, data: Vec<u8>) -> Vec<i8> {
    if blake3::hash(&data).as_bytes().as_slice() != sum {
        tracing::warn!("a vector in the memory was changed; its episode is found by words only");
        return Vec::new();
    }
    data.iter().map(|byte| byte.cast_signed()).collect()
}

/// Brings the index to what is in the file now. Vectors of other embedders are left out.
pub(super) fn catch_up(
    connection: &Connection,
    index: &mut Index,
    embedder: &str,
) -> Result<(), Failure> {
    let forgotten = connection.query_row("SELECT forgotten FROM state", [], |row| row.get(0))?;
    if index.forgotten != forgotten {
        *index = Index::new(index.dimension(), forgotten);
    }
    let mut select = connection.prepare_cached(
        "SELECT episodes.id, body, uses, sum, data FROM episodes
         LEFT JOIN vectors ON vectors.id = episodes.id AND embedder = ?2
         WHERE episodes.id > ?1 ORDER BY episodes.id",
    )?;
    let mut rows = select.query(params![index.last(), embedder])?;
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        let vector = match row.get::<_, Option<Vec<u8>>>(3)? {
            Some(sum) => checked(sum, row.get(4)?),
            None => Vec::new(),
        };
        let uses = row.get::<_, i64>(2)?.try_into().unwrap_or(0);
        index.push(row.get(0)?, &parse(&body)?, uses, &vector);
    }
    Ok(())
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
