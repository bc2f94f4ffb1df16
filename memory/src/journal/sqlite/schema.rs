//! The tables, and how older ones become them.

use rusqlite_migration::{M, Migrations};

/// `gpak` in ASCII, in the file's header: tells our files from those of other programs.
pub(super) const APPLICATION_ID: i32 = 0x6770_616B;

/// The version of the tables that this gpak writes; kept in `PRAGMA user_version`.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// Times are RFC 3339 in UTC; in `runs` always with nine decimals, so that they sort as text.
///
/// `entries` has rowids: in a table without, a row over a quarter of a page spills into a page of its
/// own, which tripled the size of typical runs.
const MIGRATIONS: &[M<'_>] = &[
    M::up(FIRST),
    // The run that a run is a part of.
    M::up("ALTER TABLE runs ADD COLUMN parent TEXT"),
];

const FIRST: &str = "
    PRAGMA application_id = 0x6770616B;

    -- A line about each run, derived from its entries, but for `head_seq` and `head_hash`: they
    -- witness which entry is the last.
    CREATE TABLE runs (
        id        INTEGER PRIMARY KEY AUTOINCREMENT,
        run       TEXT NOT NULL UNIQUE,
        task      TEXT NOT NULL,
        status    TEXT NOT NULL,
        created   TEXT NOT NULL,
        updated   TEXT NOT NULL,
        head_seq  INTEGER NOT NULL,
        head_hash BLOB NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_creation ON runs (created);
    CREATE INDEX runs_by_status ON runs (status, created);

    -- `hash` is over `prev`, the run, `seq`, `time`, `label` and the whole body. Strings over 16 KiB
    -- are taken out of `body`, leaving \"\"; `payloads` says where each belongs: [[offset, hash], ...].
    CREATE TABLE entries (
        run      INTEGER NOT NULL REFERENCES runs (id),
        seq      INTEGER NOT NULL,
        time     TEXT NOT NULL,
        label    TEXT NOT NULL,
        prev     BLOB NOT NULL,
        hash     BLOB NOT NULL,
        body     TEXT NOT NULL,
        payloads TEXT,
        PRIMARY KEY (run, seq)
    ) STRICT;

    -- Large strings, each once, by the BLAKE3 hash of their UTF-8.
    CREATE TABLE payloads (
        hash BLOB PRIMARY KEY NOT NULL,
        data TEXT NOT NULL
    ) STRICT;

    -- For people with the sqlite3 tool.
    CREATE VIEW log AS
        SELECT runs.run, seq, time, label, body ->> 'type' AS type,
               lower(hex(hash)) AS hash, body, payloads
        FROM entries JOIN runs ON runs.id = entries.run;
    ";

pub(super) fn migrations() -> Migrations<'static> {
    Migrations::from_slice(MIGRATIONS)
}
