//! Words that are spelt almost like a wanted one: what somebody may have meant who found nothing.

use std::collections::BTreeMap;

use similar::get_close_matches;

/// Shorter words are close to too many others.
const SHORTEST: usize = 4;
/// Distinct words that are compared.
const COMPARED: usize = 20_000;
/// How alike two words must be, from 0 to 1: one letter of seven may differ, or two change places.
const ALIKE: f32 = 0.8;
/// Words that are named, and places of each.
const NAMED: usize = 3;

/// The words of some text, and where they stand.
#[derive(Default)]
pub(crate) struct Words(BTreeMap<String, Vec<String>>);

impl Words {
    /// Whether words close to `wanted` can be looked for: it is a single word, and not too short.
    pub(crate) fn can_be_close(wanted: &str) -> bool {
        wanted.chars().count() >= SHORTEST && wanted.chars().all(is_of_word)
    }

    /// Takes in the words of a line that stands at `place`.
    pub(crate) fn add(&mut self, place: impl Fn() -> String, line: &str) {
        for word in line.split(|c| !is_of_word(c)) {
            if word.len() < SHORTEST || (self.0.len() >= COMPARED && !self.0.contains_key(word)) {
                continue;
            }
            let places = self.0.entry(word.to_owned()).or_default();
            if places.len() < NAMED {
                let place = place();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
    }

    /// The word closest to `wanted`, one of other letters if there is any, and where it stands.
    pub(crate) fn closest_to(&self, wanted: &str) -> Option<(String, String)> {
        let words: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let mut close = get_close_matches(wanted, &words, NAMED, ALIKE);
        close.retain(|word| *word != wanted);
        let other = close.iter().find(|word| !word.eq_ignore_ascii_case(wanted));
        let word = *other.or(close.first())?;
        Some((word.to_owned(), self.0.get(word)?.join(", ")))
    }

    /// `"recieve" (README.md:3, README.md:7) or "relieve" (a.txt:1)`: the words closest to `wanted` and
    /// where they stand, if there are any.
    pub(crate) fn close_to(&self, wanted: &str) -> Option<String> {
        let words: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let close = get_close_matches(wanted, &words, NAMED, ALIKE);
        let named = close.iter().filter(|word| **word != wanted);
        let named = named.map(|word| {
            let places = self.0.get(*word).map(|places| places.join(", "));
            format!("\"{word}\" ({})", places.unwrap_or_default())
        });
        let named: Vec<_> = named.collect();
        (!named.is_empty()).then(|| named.join(" or "))
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
