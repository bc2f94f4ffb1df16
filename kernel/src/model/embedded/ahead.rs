//! Reads ahead: what is likely to be written next is read together with what was written last.
//!
//! Reading several tokens at once takes little more time than reading one, which is bound by the memory that
//! the weights come from. What follows is guessed by prompt lookup (Saxena, "Prompt Lookup Decoding", 2023):
//! where the last few tokens stand in the text already, what stood behind them there. A program that is
//! written after others like it is guessed well. Each token is still drawn from what the network makes of all
//! before it, so that a wrong guess costs time and never changes a reply.

use candle_core::Tensor;

/// Tokens that are guessed at first: with the one before, as many as candle's kernels take in one go.
const FEW: usize = 3;
/// Tokens that are guessed while all were right.
const MANY: usize = 7;
/// How many of the last tokens must stand in the text already: as many as possible of so many.
const KEYS: [usize; 3] = [4, 3, 2];

/// A guess, and what the network made of it.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// What was read on trust, and not drawn since.
    guess: Vec<u32>,
    /// What the network made of the last rows that it read, `[1, rows, width]`: of the last token that was sure
    /// and of the guess, at least.
    hidden: Option<Tensor>,
    /// Whether the last guess was right.
    was_right: bool,
}

impl Ahead {
    /// These tokens were drawn: how many of them, from the first on, were guessed, and so read already.
    pub(super) fn confirm(&mut self, drawn: &[u32]) -> usize {
        let same = self.guess.iter().zip(drawn).take_while(|(a, b)| a == b);
        let right = same.count();
        if !self.guess.is_empty() {
            self.guess.drain(..right);
            self.was_right = self.guess.is_empty();
        }
        right
    }

    /// How many of what was read last is no more than a guess.
    pub(super) fn unsure(&self) -> usize {
        self.guess.len()
    }

    /// What may come after `read` and then `unread`; at most `room` tokens.
    pub(super) fn guess(&self, read: &[u32], unread: &[u32], room: usize) -> Vec<u32> {
        let most = if self.was_right { MANY } else { FEW };
        lookup(&[read, unread].concat(), most.min(room))
    }

    /// What was just read: `hidden`, of which the last rows are of `guess`.
    pub(super) fn was_read(&mut self, guess: Vec<u32>, hidden: Option<Tensor>) {
        self.guess = guess;
        self.hidden = hidden;
    }

    /// What the network made of the last token that is sure, and its row.
    pub(super) fn last(&self) -> Option<(&Tensor, usize)> {
        let hidden = self.hidden.as_ref()?;
        let rows = hidden.dim(1).ok()?;
        Some((hidden, rows.checked_sub(1 + self.guess.len())?))
    }
}

/// What stood behind the last tokens of a text where they stood in it before, the last time: at most `most`.
fn lookup(text: &[u32], most: usize) -> Vec<u32> {
    let found = KEYS.iter().find_map(|length| {
        let key = text.get(text.len().checked_sub(*length)?..)?;
        let earlier = text.get(..text.len() - 1)?;
        let at = earlier.windows(*length).rposition(|window| window == key)?;
        text.get(at + length..)
    });
    found
        .unwrap_or_default()
        .iter()
        .copied()
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_last_time_is_what_is_guessed() {
        let text = [1, 2, 3, 4, 9, 2, 3, 5, 6, 7, 2, 3];
        assert_eq!(lookup(&text, 2), [5, 6], "the last time");
        assert!(lookup(&text, 0).is_empty());
        assert_eq!(
            lookup(&[1, 2, 3, 8, 5, 2, 3, 9, 1, 2, 3], 1),
            [8],
            "the longest"
        );
        assert_eq!(lookup(&[7, 7, 7], 9), [7], "no more than there is");
        assert!(lookup(&[1, 2, 3, 4], 3).is_empty());
        assert!(lookup(&[1], 3).is_empty());
        assert!(lookup(&[], 3).is_empty());
    }

    #[test]
    fn more_is_guessed_after_what_was_right() {
        let text: Vec<u32> = (0..20).chain(0..4).collect();
        let mut ahead = Ahead::default();
        let guess = ahead.guess(&text[..22], &text[22..], 100);
        assert_eq!(guess, [4, 5, 6]);
        let hidden = Tensor::zeros(
            (1, 5, 2),
            candle_core::DType::F32,
            &candle_core::Device::Cpu,
        );
        ahead.was_read(guess, hidden.ok());
        assert_eq!(ahead.last().unwrap().1, 1);
        assert_eq!(ahead.confirm(&[4, 5, 9]), 2);
        assert_eq!((ahead.unsure(), ahead.last().unwrap().1), (1, 3));
        assert_eq!(
            ahead.guess(&text, &[], 100).len(),
            FEW,
            "not all of it was right"
        );
        assert_eq!(ahead.confirm(&[6]), 1);
        assert_eq!((ahead.unsure(), ahead.last().unwrap().1), (0, 4));
        assert_eq!(ahead.guess(&text, &[], 100).len(), MANY);
        assert_eq!(ahead.guess(&text, &[], 2).len(), 2);
    }
}
