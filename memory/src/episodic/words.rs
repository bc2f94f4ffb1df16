//! From text to terms: what is counted of an episode, and what a question asks for.
//!
//! A term is a word in small letters, without accents, cut to its stem (Snowball's English). Scripts
//! that are written without spaces between words are cut into pairs of characters. Terms are kept as
//! hashes, so that what indexes them holds no text.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use gpak_kernel::memory::Episode;
use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Distinct terms of a question that are looked for; more make it slow and not better.
const MOST_TERMS: usize = 48;

/// Bytes of a text that are indexed. What comes later is found by nothing but what precedes it.
const LONGEST: usize = 64 << 10;

/// Words that are in every text and tell none from another.
static STOP: LazyLock<HashSet<&str>> = LazyLock::new(|| STOPS.split_ascii_whitespace().collect());

const STOPS: &str = "a about after again all also am an and any are as at be because been before being \
    between both but by can could did do does doing during each few for from further had has have \
    having he her here hers him his how i if in into is it its just me more most my no nor not of off \
    on once only or other our out over own s same she should so some such t than that the their them \
    then there these they this those through to too under until up very was we were what when where \
    which while who whom why will with would you your";

/// A term, as it is kept: FNV-1a of its letters. It is written to disk and sent to other stores, so it never
/// changes.
pub(super) type Term = u64;

fn hash(term: &str) -> Term {
    term.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Words of which the terms are remembered by each thread that makes terms.
const KNOWN: usize = 50_000;

/// What is known of a word: its term, and whether it is in every text.
type Known = (Term, bool);

thread_local! {
    /// Stemming takes longer than all else here, and most words come again.
    static KNOWN_WORDS: RefCell<HashMap<String, Known>> = RefCell::default();
}

/// The terms of a text in order, each as often as it is there; without those that are everywhere, unless
/// it has no others.
pub(super) fn terms(text: &str) -> Vec<Term> {
    let end = text.floor_char_boundary(LONGEST);
    let mut all = Vec::new();
    KNOWN_WORDS.with_borrow_mut(|known| {
        if known.len() > KNOWN {
            known.clear();
        }
        words(text.get(..end).unwrap_or_default(), &mut |word| {
            all.push(match known.get(word) {
                Some(term) => *term,
                None => {
                    let stem = Stemmer::create(Algorithm::English).stem(word);
                    let term = (hash(&stem), STOP.contains(word));
                    known.insert(word.to_owned(), term);
                    term
                }
            });
        });
    });
    let telling = all.iter().any(|(_, everywhere)| !everywhere);
    let kept = all
        .into_iter()
        .filter(|(_, everywhere)| !(telling && *everywhere));
    kept.map(|(term, _)| term).collect()
}

/// The terms of a question, once each.
pub(super) fn asked(text: &str) -> Vec<Term> {
    let mut once = Vec::new();
    for term in terms(text) {
        if once.len() >= MOST_TERMS {
            break;
        }
        if !once.contains(&term) {
            once.push(term);
        }
    }
    once
}

/// The term of a word, unless it has none.
pub(super) fn term(word: &str) -> Option<Term> {
    terms(word).first().copied()
}

/// Calls `each` with the words of a text in small letters, without accents.
pub(super) fn words(text: &str, each: &mut impl FnMut(&str)) {
    if text.is_ascii() {
        let small = text.to_ascii_lowercase();
        let parts = small.split(|c: char| !c.is_ascii_alphanumeric());
        return parts.filter(|word| !word.is_empty()).for_each(each);
    }
    let bare = text.nfkd().filter(|c| !is_combining_mark(*c));
    let small: String = bare.flat_map(char::to_lowercase).collect();
    let parts = small.split(|c: char| !c.is_alphanumeric());
    for word in parts.filter(|word| !word.is_empty()) {
        if word.contains(is_unspaced) {
            pairs(word, each);
        } else {
            each(word);
        }
    }
}

/// Cuts a word with characters of an unspaced script into pairs of those and runs of others.
fn pairs(word: &str, each: &mut impl FnMut(&str)) {
    let characters: Vec<char> = word.chars().collect();
    for run in characters.chunk_by(|a, b| is_unspaced(*a) == is_unspaced(*b)) {
        let width = match run.first() {
            Some(c) if is_unspaced(*c) && run.len() > 1 => 2,
            _ => run.len(),
        };
        for part in run.windows(width) {
            each(&part.iter().collect::<String>());
        }
    }
}

/// Han, kana, Thai, Lao, Khmer and Myanmar.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// How often a term is in each field of an episode; more than 255 times counts as that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) text: u8,
    pub(super) caption: u8,
    pub(super) speaker: u8,
    pub(super) date: u8,
}

/// The terms of an episode with their counts, and how many words its text and caption have. Tags count as text,
/// but are not words of it.
pub(super) fn of_episode(episode: &Episode) -> (Vec<(Term, Counts)>, u16) {
    let text = terms(&episode.text);
    let caption = terms(episode.caption.as_deref().unwrap_or_default());
    let length = u16::try_from(text.len() + caption.len()).unwrap_or(u16::MAX);
    let tags = terms(&episode.tags.join(" "));
    let speaker = terms(episode.speaker.as_deref().unwrap_or_default());
    let date = terms(&episode.at.strftime("%A %-d %B %Y").to_string());
    type Field = fn(&mut Counts) -> &mut u8;
    let fields: [(Vec<Term>, Field); 5] = [
        (text, |counts| &mut counts.text),
        (tags, |counts| &mut counts.text),
        (caption, |counts| &mut counts.caption),
        (speaker, |counts| &mut counts.speaker),
        (date, |counts| &mut counts.date),
    ];
    let mut single: Vec<(Term, Field)> = fields
        .into_iter()
        .flat_map(|(terms, field)| terms.into_iter().map(move |term| (term, field)))
        .collect();
    single.sort_by_key(|(term, _)| *term);
    let count = |same: &[(Term, Field)]| {
        let mut counts = Counts::default();
        for (_, field) in same {
            let count = field(&mut counts);
            *count = count.saturating_add(1);
        }
        Some((same.first()?.0, counts))
    };
    let groups = single.chunk_by(|(a, _), (b, _)| a == b);
    (groups.filter_map(count).collect(), length)
}

/// Words in the sentences of a text that are not questions, up to `most`. What asks says little.
pub(super) fn stated(text: &str, most: usize) -> usize {
    let mut count = 0;
    let mut sentence = 0;
    let mut word = false;
    for c in text.chars() {
        if c.is_alphanumeric() {
            sentence += usize::from(!word);
            word = true;
            continue;
        }
        word = false;
        match c {
            '?' | '？' => sentence = 0,
            '.' | '!' | '\n' | '。' | '！' => {
                count += sentence;
                sentence = 0;
            }
            _ => {}
        }
        if count >= most {
            break;
        }
    }
    (count + sentence).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_one_term() {
        assert_eq!(terms("Painting"), terms("painted"));
        assert_eq!(terms("naïve CAFÉ"), terms("naive café"));
        assert_eq!(terms("the paintings of it"), terms("painting"));
        assert_ne!(terms("paint"), terms("print"));
        assert!(terms("?! \0").is_empty());
    }

    #[test]
    fn a_text_of_nothing_but_common_words_has_them_all() {
        assert_eq!(terms("who is it").len(), 3);
        assert_eq!(terms("who is Ann").len(), 1);
    }

    #[test]
    fn a_script_without_spaces_is_cut_into_pairs() {
        assert_eq!(terms("東京都").len(), 2);
        assert!(terms("私は東京にいます").contains(&terms("東京")[0]));
        assert_eq!(terms("東"), [hash("東")]);
    }

    #[test]
    fn terms_are_the_same_for_ever() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn what_asks_states_nothing() {
        assert_eq!(stated("How are you? What's up?", 40), 0);
        assert_eq!(stated("I am fine. And you?", 40), 3);
        assert_eq!(stated("no full stop here", 40), 4);
        assert_eq!(stated(&"word. ".repeat(99), 40), 40);
    }
}
