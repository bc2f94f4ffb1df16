//! Text of any length in bounded room.

use crate::text::many;

/// Output, of which the beginning and the end are kept.
#[derive(Debug)]
pub(crate) struct Kept {
    room: usize,
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    left_out: u64,
}

impl Kept {
    /// Room for that many bytes.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room: room / 2,
            head: Vec::new(),
            tail: std::collections::VecDeque::new(),
            left_out: 0,
        }
    }

    /// Adds what comes next.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let room = self.room - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.room);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    /// What was kept, as text; `more` says behind the number of bytes left out how to see them.
    pub(crate) fn text(&self, more: &str) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if self.left_out == 0 {
            let all = [self.head.as_slice(), &tail].concat();
            return String::from_utf8_lossy(&all).trim_end().to_owned();
        }
        // What was cut may have been cut within a character.
        let head = String::from_utf8_lossy(&self.head);
        let tail = String::from_utf8_lossy(&tail);
        format!(
            "{}\n…truncated: {} left out here{more}…\n{}",
            head.trim_end_matches('\u{fffd}'),
            many(self.left_out, "byte"),
            tail.trim_start_matches('\u{fffd}').trim_end()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_output_the_beginning_and_the_end_are_kept() {
        let mut kept = Kept::new(10);
        kept.add(b"abc");
        assert_eq!(kept.text(""), "abc");
        kept.add(b"defghij");
        assert_eq!(kept.text(""), "abcdefghij");
        for _ in 0..1000 {
            kept.add(b"0123456789");
        }
        let text = kept.text("");
        assert!(
            text.starts_with("abcde\n…truncated: 10000 bytes left out"),
            "{text}"
        );
        assert!(text.ends_with("\n56789"), "{text}");
    }
}
