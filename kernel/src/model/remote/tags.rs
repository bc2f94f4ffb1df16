//! Tells thought from text where a model writes its thought into the text, as `<think>…</think>` in
//! front of the rest.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Takes text as it comes.
#[derive(Debug, Default)]
pub(super) struct Tags {
    place: Place,
    /// What may be the beginning of a tag.
    held: String,
}

#[derive(Debug, Default, PartialEq)]
enum Place {
    #[default]
    Start,
    Thought,
    Text,
}

/// A piece of thought, and the text after it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Split {
    pub(super) thought: String,
    pub(super) text: String,
}

impl Tags {
    /// Takes more.
    pub(super) fn push(&mut self, text: &str) -> Split {
        let mut split = Split::default();
        if self.place == Place::Text {
            split.text = text.to_owned();
            return split;
        }
        self.held.push_str(text);
        if self.place == Place::Start {
            let begun = self.held.trim_start();
            if let Some(thought) = begun.strip_prefix(OPEN) {
                self.held = thought.to_owned();
                self.place = Place::Thought;
            } else if OPEN.starts_with(begun) {
                return split;
            } else {
                self.place = Place::Text;
                split.text = std::mem::take(&mut self.held);
                return split;
            }
        }
        if let Some((thought, text)) = self.held.split_once(CLOSE) {
            split = Split {
                thought: thought.to_owned(),
                text: text.trim_start().to_owned(),
            };
            self.held.clear();
            self.place = Place::Text;
            return split;
        }
        let held = (1..CLOSE.len()).rev();
        let held = held
            .filter_map(|n| CLOSE.get(..n))
            .find(|end| self.held.ends_with(end));
        let keep = self.held.len() - held.map_or(0, str::len);
        let rest = self.held.split_off(keep);
        split.thought = std::mem::replace(&mut self.held, rest);
        split
    }

    /// What was held back, at the end.
    pub(super) fn end(&mut self) -> Split {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Thought => Split {
                thought: held,
                text: String::new(),
            },
            Place::Start | Place::Text => Split {
                thought: String::new(),
                text: held,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, width: usize) -> (String, String) {
        let mut tags = Tags::default();
        let (mut thought, mut said) = (String::new(), String::new());
        let chars: Vec<char> = text.chars().collect();
        let mut take = |split: Split| {
            thought.push_str(&split.thought);
            said.push_str(&split.text);
        };
        for piece in chars.chunks(width) {
            take(tags.push(&piece.iter().collect::<String>()));
        }
        take(tags.end());
        (thought, said)
    }

    #[test]
    fn thought_is_told_from_text_however_it_is_cut() {
        for width in [1, 2, 5, 100] {
            let (thought, text) = split("\n<think>a < b </thin é</think>\n\nSo: 3", width);
            assert_eq!((thought.as_str(), text.trim()), ("a < b </thin é", "So: 3"));
            let plain = "2 <think> 3 </think>";
            assert_eq!(split(plain, width), (String::new(), plain.to_owned()));
            assert_eq!(split("<thi", width), (String::new(), "<thi".to_owned()));
            assert_eq!(
                split("<think>cut", width),
                ("cut".to_owned(), String::new())
            );
        }
    }
}
