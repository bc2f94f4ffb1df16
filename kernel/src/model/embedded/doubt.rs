//! How sure a model is of the tool that it calls: the entropy of the tokens that choose it.

use toktrie::SimpleVob;

use super::sample::candidates;

/// The entropy of the next token among those allowed, in nats: 0 where one is certain, at most the logarithm
/// of their number. Of the model's own distribution, whatever the temperature it is drawn with.
pub(super) fn entropy(logits: &[f32], allowed: Option<&SimpleVob>) -> f32 {
    let best =
        candidates(logits, allowed).fold(f32::NEG_INFINITY, |best, (_, logit)| best.max(logit));
    // H = ln Z - Σ p·x, with x the logit below the best one, and Z the sum of exp x.
    let (mut total, mut mean) = (0.0f64, 0.0f64);
    for (_, logit) in candidates(logits, allowed) {
        let x = f64::from(logit - best);
        total += x.exp();
        mean += x.exp() * x;
    }
    match total > 0.0 {
        true => (total.ln() - mean / total).max(0.0) as f32,
        false => 0.0,
    }
}

/// Whether the next token of a step in JSON is a part of the tool's name.
pub(super) fn chooses_in_json(text: &str) -> bool {
    // In the text of a thought, its quotation marks would be escaped.
    let name = text
        .rsplit_once(r#""tool":"#)
        .map(|(_, name)| name.trim_start());
    name.is_some_and(|name| match name.strip_prefix('"') {
        Some(begun) => !begun.contains('"'),
        None => name.is_empty(),
    })
}

/// Whether the next token of a sentence and a block says which block it is, or which tool a call is of.
pub(super) fn chooses_in_blocks(text: &str) -> bool {
    let Some((_, block)) = text.split_once('\n') else {
        return false;
    };
    let is_begun = block.contains([':', '\n']);
    !is_begun || block.starts_with("```call\n") && chooses_in_json(block)
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
        for (text, chooses) in [
            (r#"{"thought":"the \"tool\": x"#, false),
            (r#"{"thought":"x","tool":"#, true),
            (r#"{"thought":"x","tool": ""#, true),
            (r#"{"thought":"x","tool":"read_"#, true),
            (r#"{"thought":"x","tool":"read_file""#, false),
            (
                r#"{"thought":"x","tool":"read_file","args":{"path":""#,
                false,
            ),
        ] {
            assert_eq!(chooses_in_json(text), chooses, "{text}");
        }
        for (text, chooses) in [
            ("I count the", false),
            ("I count them.\n", true),
            ("I count them.\n``", true),
            ("I count them.\n```js", true),
            ("I count them.\n```js\n", false),
            ("I know it.\nANS", true),
            ("I know it.\nANSWER:", false),
            ("I run it.\n```call\n{\"tool\":\"run_", true),
            (
                "I run it.\n```call\n{\"tool\":\"run_command\",\"args\":{",
                false,
            ),
        ] {
            assert_eq!(chooses_in_blocks(text), chooses, "{text}");
        }
    }
}
