//! How sure a model is of the call that it makes: the entropy of its tokens.

use toktrie::SimpleVob;

use super::sample::{NEGLIGIBLE, best, candidates};

/// The entropy of the next token among those allowed, in nats: 0 where one is certain, at most the logarithm
/// of their number. Of the model's own distribution, whatever the temperature it is drawn with.
pub(super) fn entropy(logits: &[f32], allowed: Option<&SimpleVob>) -> f32 {
    let Some((_, best)) = best(logits, allowed) else {
        return 0.0;
    };
    // H = ln Z - Σ p·x, with x the logit below the best one, and Z the sum of exp x, which is 1 or more.
    let (mut total, mut mean) = (0.0f64, 0.0f64);
    for (_, logit) in candidates(logits, allowed, best - NEGLIGIBLE) {
        let x = f64::from(logit - best);
        let weight = x.exp();
        total += weight;
        mean += weight * x;
    }
    (total.ln() - mean / total).max(0.0) as f32
}

/// What a token of a step is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What is said before the call.
    Thought,
    /// The choice of the tool.
    Choice,
    /// What the tool is given.
    Arguments,
}

impl Part {
    /// Of the next token of a step in JSON.
    pub(super) fn in_json(text: &str) -> Self {
        // In the text of a thought, its quotation marks would be escaped.
        let Some((_, name)) = text.split_once(r#""tool":"#) else {
            return Self::Thought;
        };
        let name = name.trim_start();
        let is_begun = match name.strip_prefix('"') {
            Some(begun) => !begun.contains('"'),
            None => name.is_empty(),
        };
        match is_begun {
            true => Self::Choice,
            false => Self::Arguments,
        }
    }

    /// Of the next token of a sentence and a block: the choice is which block it is, or which tool a call is of.
    pub(super) fn in_blocks(text: &str) -> Self {
        let Some((_, block)) = text.split_once('\n') else {
            return Self::Thought;
        };
        let is_chosen = block.contains([':', '\n']);
        match block.strip_prefix("```call\n") {
            Some(call) => match Self::in_json(call) {
                Self::Thought => Self::Choice,
                part => part,
            },
            None if is_chosen => Self::Arguments,
            None => Self::Choice,
        }
    }
}

/// How sure a model was of the parts of a reply.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    choice: Option<f32>,
    total: f32,
    tokens: u32,
}

impl Doubts {
    /// Counts the draw of a token.
    pub(super) fn count(&mut self, part: Part, logits: &[f32], allowed: Option<&SimpleVob>) {
        if part == Part::Thought {
            return;
        }
        let more = entropy(logits, allowed);
        self.total += more;
        self.tokens += 1;
        if part == Part::Choice {
            self.choice = Some(self.choice.unwrap_or_default() + more);
        }
    }

    /// The entropy of the choice of the tool, in nats, once a part of it was drawn.
    pub(super) fn choice(&self) -> Option<f32> {
        self.choice
    }

    /// The mean entropy of the choice and the arguments, in nats a token.
    pub(super) fn mean(&self) -> Option<f32> {
        (self.tokens > 0).then(|| self.total / self.tokens as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_that_of_the_allowed_tokens() {
        let mut mask = SimpleVob::alloc(4);
        mask.allow_token(0);
        mask.allow_token(2);
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        let ln2 = std::f32::consts::LN_2;
        close(entropy(&[1.0, 90.0, 1.0, 5.0], Some(&mask)), ln2);
        close(entropy(&[3.0; 8], None), 3.0 * ln2);
        close(entropy(&[50.0, 90.0, -50.0, 5.0], Some(&mask)), 0.0);
        close(entropy(&[f32::NAN, 1.0, f32::NEG_INFINITY], None), 0.0);
        close(entropy(&[], None), 0.0);
        // p = 1/4, 3/4
        let quarter = entropy(&[0.0, 3.0f32.ln()], None);
        close(quarter, -(0.25 * 0.25f32.ln() + 0.75 * 0.75f32.ln()));
    }

    #[test]
    fn a_tool_is_chosen_where_its_name_is_written() {
        use Part::{Arguments, Choice, Thought};
        for (text, part) in [
            (r#"{"thought":"the \"tool\": x"#, Thought),
            (r#"{"thought":"x","tool":"#, Choice),
            (r#"{"thought":"x","tool": ""#, Choice),
            (r#"{"thought":"x","tool":"read_"#, Choice),
            (r#"{"thought":"x","tool":"read_file""#, Arguments),
            (
                r#"{"thought":"x","tool":"read_file","args":{"path":""#,
                Arguments,
            ),
        ] {
            assert_eq!(Part::in_json(text), part, "{text}");
        }
        for (text, part) in [
            ("I count the", Thought),
            ("I count them.\n", Choice),
            ("I count them.\n``", Choice),
            ("I count them.\n```js", Choice),
            ("I count them.\n```js\n", Arguments),
            ("I know it.\nANS", Choice),
            ("I know it.\nANSWER:", Arguments),
            ("I run it.\n```call\n{", Choice),
            ("I run it.\n```call\n{\"tool\":\"run_", Choice),
            (
                "I run it.\n```call\n{\"tool\":\"run_command\",\"args\":{",
                Arguments,
            ),
        ] {
            assert_eq!(Part::in_blocks(text), part, "{text}");
        }
    }

    #[test]
    fn what_is_said_before_a_call_is_not_counted() {
        let (sure, torn) = ([9.0, -90.0], [1.0, 1.0]);
        let mut doubts = Doubts::default();
        doubts.count(Part::Thought, &torn, None);
        assert_eq!((doubts.choice(), doubts.mean()), (None, None));
        doubts.count(Part::Choice, &torn, None);
        doubts.count(Part::Arguments, &sure, None);
        let ln2 = std::f32::consts::LN_2;
        assert!((doubts.choice().unwrap() - ln2).abs() < 1e-5);
        assert!((doubts.mean().unwrap() - ln2 / 2.0).abs() < 1e-5);
    }
}
