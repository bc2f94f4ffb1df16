//! Putting a store in order: what says the same becomes one, what is not true any more says so, and what
//! nobody ever used matters less. Nothing is deleted: what gives way stays, with its end of validity.
//!
//! Every episode is looked at once, when it is new, beside those like it that were there before. Decisions
//! go by words and numbers alone, so that the same store gives the same: two texts say the same if they have
//! the same numbers and negations and nearly the same words, and a fact contradicts another if both say of
//! the same definite thing ("the port of the server is …") what it is, and not the same.

use std::collections::BTreeSet;

use gpak_kernel::memory::{Consolidated, Episode, EpisodeId, Kind, MemoryError};
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde_json::json;

use super::{failure::Failure, read::parse};

/// New episodes that are looked at in one go; the rest is left for the next.
const AT_A_TIME: i64 = 500;
/// Of all words of two texts, the part that both must have to say the same.
const SAME: f32 = 0.9;
/// Words of what a thing is said to be; more make it a story, and no value.
const VALUE: usize = 6;

/// How old something must be that matters less for never having been used.
const OLD: SignedDuration = SignedDuration::from_hours(90 * 24);
/// And how long it takes to matter less by [`LESS`].
const PERIOD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What is left of its importance after a period.
const LESS: f32 = 0.8;
/// Below this it matters no less.
const LEAST: f32 = 0.05;

/// The key in `meta` under which stands what an episode was merged into.
const MERGED: &str = "merged_into";
/// And how many periods it has decayed for.
const DECAYED: &str = "decayed";

/// A row and what is in it.
struct Stored {
    row: i64,
    episode: Episode,
    uses: i64,
}

/// Looks at what is new. `like` gives the rows of episodes with the same words as one, nearest first.
pub(super) fn consolidate(
    connection: &mut Connection,
    now: Timestamp,
    like: impl Fn(&Episode) -> Vec<i64>,
) -> Result<Consolidated, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut done = Consolidated::default();
    let mut retagged = false;
    for row in new_rows(&transaction)? {
        done.looked_at += 1;
        // An earlier one of the batch may have changed it.
        if let Some(stored) = stored(&transaction, row)? {
            retagged |= settle(&transaction, stored, &like, now, &mut done)?;
        }
        transaction.execute("UPDATE state SET consolidated = ?1", [row])?;
    }
    done.left = transaction.query_row(
        "SELECT count(*) FROM episodes WHERE id > (SELECT consolidated FROM state)",
        [],
        |row| row.get::<_, i64>(0),
    )? as u64;
    done.decayed = decay(&transaction, now)?;
    if retagged {
        // Tags are all that an index knows of what changed here: who holds one must read it again.
        transaction.execute("UPDATE state SET generation = generation + 1", [])?;
    }
    transaction.commit()?;
    Ok(done)
}

fn new_rows(transaction: &Transaction<'_>) -> Result<Vec<i64>, Failure> {
    let mut select = transaction.prepare_cached(
        "SELECT id FROM episodes WHERE id > (SELECT consolidated FROM state) ORDER BY id LIMIT ?1",
    )?;
    let rows = select.query_map([AT_A_TIME], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn stored(transaction: &Transaction<'_>, row: i64) -> Result<Option<Stored>, Failure> {
    let mut select = transaction.prepare_cached("SELECT body, uses FROM episodes WHERE id = ?1")?;
    let mut rows = select.query([row])?;
    let Some(found) = rows.next()? else {
        return Ok(None);
    };
    let body: String = found.get(0)?;
    let (episode, uses) = (parse(&body)?, found.get(1)?);
    Ok(Some(Stored { row, episode, uses }))
}

/// Settles how a new episode stands to those like it. Answers whether it has other tags now.
fn settle(
    transaction: &Transaction<'_>,
    mut new: Stored,
    like: &impl Fn(&Episode) -> Vec<i64>,
    now: Timestamp,
    done: &mut Consolidated,
) -> Result<bool, Failure> {
    let tags = new.episode.tags.len();
    if new.episode.valid_to.is_some() {
        return Ok(false);
    }
    for row in like(&new.episode) {
        if row >= new.row {
            continue;
        }
        let Some(mut old) = stored(transaction, row)? else {
            continue;
        };
        if old.episode.valid_to.is_some() || !are_of_a_kind(&old.episode, &new.episode) {
            continue;
        }
        if say_the_same(&old.episode.text, &new.episode.text) {
            done.merged.push((old.episode.id(), new.episode.id()));
            merge(&mut old, &mut new, now);
        } else if contradict(&old.episode, &new.episode) {
            let (earlier, later) = match old.episode.at <= new.episode.at {
                true => (&mut old, &mut new),
                false => (&mut new, &mut old),
            };
            done.superseded
                .push((earlier.episode.id(), later.episode.id()));
            let since = later.episode.valid_from.unwrap_or(later.episode.at);
            later.episode.valid_from = Some(since);
            earlier.episode.valid_to = Some(since);
        } else {
            continue;
        }
        write(transaction, &old)?;
        write(transaction, &new)?;
        if new.episode.valid_to.is_some() {
            break;
        }
    }
    Ok(new.episode.tags.len() > tags)
}

fn are_of_a_kind(a: &Episode, b: &Episode) -> bool {
    a.kind == b.kind
        && a.workspace == b.workspace
        && (a.kind != Kind::Episodic
            || (a.speaker == b.speaker && a.caption == b.caption && a.conversation != b.conversation))
        // What is trusted less must not take the place of what is trusted more.
        && a.label.is_trusted() == b.label.is_trusted()
}

/// The new one stands for both.
fn merge(old: &mut Stored, new: &mut Stored, now: Timestamp) {
    let into: EpisodeId = new.episode.id();
    new.uses = new.uses.saturating_add(old.uses);
    new.episode.importance = new.episode.importance.max(old.episode.importance);
    let since = [old.episode.valid_from, new.episode.valid_from];
    new.episode.valid_from = since.into_iter().flatten().min();
    for tag in &old.episode.tags {
        if !new.episode.tags.contains(tag) {
            new.episode.tags.push(tag.clone());
        }
    }
    old.episode.valid_to = Some(now);
    old.episode
        .meta
        .insert(MERGED.to_owned(), json!(into.to_string()));
}

fn write(transaction: &Transaction<'_>, stored: &Stored) -> Result<(), Failure> {
    let body = serde_json::to_string(&stored.episode).map_err(|e| {
        MemoryError::Store(format!("an episode cannot be written as JSON again: {e}"))
    })?;
    transaction.execute(
        "UPDATE episodes SET body = ?2, uses = ?3 WHERE id = ?1",
        params![stored.row, body, stored.uses],
    )?;
    transaction.execute(
        "INSERT OR IGNORE INTO again SELECT target, ?1 FROM remotes",
        [stored.row],
    )?;
    Ok(())
}

/// The words, numbers and negations of a text.
fn parts(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let words = words.filter(|word| !word.is_empty()).map(str::to_lowercase);
    let counts = |word: &String| {
        word.contains(|c: char| c.is_ascii_digit())
            || matches!(word.as_str(), "not" | "no" | "never" | "without")
            || word.ends_with("n't")
    };
    let (telling, others): (BTreeSet<_>, BTreeSet<_>) = words.partition(counts);
    (others, telling)
}

/// Whether two texts say the same.
fn say_the_same(a: &str, b: &str) -> bool {
    let ((words_a, telling_a), (words_b, telling_b)) = (parts(a), parts(b));
    if telling_a != telling_b {
        return false;
    }
    let both = words_a.intersection(&words_b).count();
    let all = words_a.union(&words_b).count();
    all > 0 && both as f32 / all as f32 >= SAME
}

/// Whether two facts say of the same definite thing that it is this, and that it is that.
fn contradict(a: &Episode, b: &Episode) -> bool {
    if a.kind != Kind::Semantic {
        return false;
    }
    let (Some((of_a, a)), Some((of_b, b))) = (said_of(&a.text), said_of(&b.text)) else {
        return false;
    };
    of_a == of_b && a != b
}

/// What a fact is about, and what it says it is.
fn said_of(text: &str) -> Option<(String, String)> {
    let text = text.trim().trim_end_matches('.').to_lowercase();
    let (of, is) = [" is ", " are ", " = ", ": "]
        .iter()
        .filter_map(|between| {
            let at = text.find(between)?;
            Some((at, text.get(..at)?, text.get(at + between.len()..)?))
        })
        .min_by_key(|(at, ..)| *at)
        .map(|(_, of, is)| (of.trim(), is.trim()))?;
    let is_definite = ["the ", "my ", "our ", "this ", "your "]
        .iter()
        .any(|word| of.starts_with(word))
        || of.contains("'s ")
        || of.contains(" of ");
    let is_value = !is.is_empty() && is.split_whitespace().count() <= VALUE;
    (is_definite && is_value).then(|| {
        let of: Vec<&str> = of.split_whitespace().collect();
        (of.join(" "), is.to_owned())
    })
}

/// Lets what is old and was never used matter less. Answers how many do.
fn decay(transaction: &Transaction<'_>, now: Timestamp) -> Result<u64, Failure> {
    let now_at = now.as_microsecond();
    let period = i64::try_from(PERIOD.as_micros()).unwrap_or(i64::MAX);
    let last: i64 = transaction.query_row("SELECT decayed FROM state", [], |row| row.get(0))?;
    if now_at.saturating_sub(last) < period {
        return Ok(0);
    }
    transaction.execute("UPDATE state SET decayed = ?1", [now_at])?;
    let old = i64::try_from((OLD + PERIOD).as_micros()).unwrap_or(i64::MAX);
    let mut select =
        transaction.prepare("SELECT id FROM episodes WHERE uses = 0 AND at <= ?1 ORDER BY id")?;
    let rows = select.query_map([now_at.saturating_sub(old)], |row| row.get(0))?;
    let rows: Vec<i64> = rows.collect::<rusqlite::Result<_>>()?;
    let mut decayed = 0;
    for row in rows {
        let Some(mut stored) = stored(transaction, row)? else {
            continue;
        };
        if fade(&mut stored.episode, now) {
            decayed += 1;
            write(transaction, &stored)?;
        }
    }
    Ok(decayed)
}

/// Takes off what its age asks for and was not taken off before. False if that is nothing.
fn fade(episode: &mut Episode, now: Timestamp) -> bool {
    let age = now.duration_since(episode.at) - OLD;
    let due = age.as_secs().max(0) / PERIOD.as_secs();
    let before = episode.meta.get(DECAYED).and_then(|it| it.as_i64());
    let periods = due - before.unwrap_or(0);
    if periods <= 0 || episode.importance <= LEAST {
        return false;
    }
    let left = LESS.powi(i32::try_from(periods).unwrap_or(i32::MAX));
    episode.importance = (episode.importance * left).max(LEAST);
    episode.meta.insert(DECAYED.to_owned(), json!(due));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpak_kernel::label::Label;

    fn fact(text: &str) -> Episode {
        let mut episode = Episode::new(text, Label::User, Timestamp::UNIX_EPOCH);
        episode.kind = Kind::Semantic;
        episode
    }

    #[test]
    fn texts_say_the_same_in_another_order_and_not_with_other_numbers_or_negations() {
        let text = "The tests of the parser take ten minutes on the old machine";
        assert!(say_the_same(
            text,
            "on the old machine the tests of the parser take ten minutes"
        ));
        assert!(!say_the_same("The port is 8080", "The port is 9090"));
        assert!(!say_the_same(
            "The door of the lab is open at night for all",
            "The door of the lab is not open at night for all"
        ));
        assert!(!say_the_same(text, "The tests take ten minutes"));
    }

    #[test]
    fn facts_contradict_if_they_say_of_one_definite_thing_that_it_is_two_things() {
        let contradict = |a, b| contradict(&fact(a), &fact(b));
        assert!(contradict(
            "The port of the server is 8080.",
            "the port of the server is 9090"
        ));
        assert!(contradict("Anna's editor: vim", "Anna's editor: helix"));
        assert!(!contradict("Anna is tall", "Anna is a doctor"));
        assert!(!contradict("The port is 8080", "The port is 8080."));
        assert!(!contradict("The port is 8080", "The host is example.org"));
    }

    #[test]
    fn what_is_never_used_fades_once_for_each_period_and_not_below_a_floor() {
        let mut episode = fact("The cellar is damp");
        let day = |days: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * days);
        assert!(!fade(&mut episode, day(100)));
        assert!(fade(&mut episode, day(121)));
        assert!((episode.importance - 0.4).abs() < 1e-6);
        assert!(!fade(&mut episode, day(122)));
        assert!(fade(&mut episode, day(181)));
        assert!((episode.importance - 0.5 * 0.8f32.powi(3)).abs() < 1e-6);
        assert!(fade(&mut episode, day(4000)));
        assert_eq!(episode.importance, LEAST);
    }
}
