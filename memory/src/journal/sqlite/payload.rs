//! Large strings of a body, stored once by their hash.
//!
//! They are cut out of and put back into the body's text: what is not parsed cannot be written
//! differently, so the body that comes back is the body that was hashed, to the byte.

use gpak_kernel::entry::Hash;

/// Strings longer than this in a body, in bytes, are stored apart.
pub(super) const LARGE: usize = 16 * 1024;

/// A body without its large strings.
#[derive(Debug, PartialEq)]
pub(super) struct Split {
    /// The body, with `""` in the place of each.
    pub(super) body: String,
    /// Each with the offset of its `""` in `body`, in order.
    pub(super) payloads: Vec<(usize, String)>,
}

/// The BLAKE3 hash of a payload's UTF-8.
pub(super) fn hash(data: &str) -> Hash {
    Hash(*blake3::hash(data.as_bytes()).as_bytes())
}

/// Takes the large strings out of a canonical body. None where there are none.
pub(super) fn split(full: &str) -> Option<Split> {
    if full.len() <= LARGE {
        return None;
    }
    let mut split = Split {
        body: String::new(),
        payloads: Vec::new(),
    };
    let mut rest = full;
    while let Some((before, literal, after)) = next_string(rest) {
        split.body.push_str(before);
        let is_key = after.starts_with(':');
        match serde_json::from_str::<String>(literal) {
            Ok(data) if literal.len() > LARGE + 2 && !is_key => {
                split.payloads.push((split.body.len(), data));
                split.body.push_str("\"\"");
            }
            _ => split.body.push_str(literal),
        }
        rest = after;
    }
    split.body.push_str(rest);
    let came_back = || join(&split.body, &split.payloads).as_deref() == Some(full);
    (!split.payloads.is_empty() && came_back()).then_some(split)
}

/// Puts the strings back. None where an offset does not point to `""`.
pub(super) fn join(body: &str, payloads: &[(usize, String)]) -> Option<String> {
    let mut full = String::new();
    let mut done = 0;
    for (at, data) in payloads {
        full.push_str(body.get(done..*at)?);
        full.push_str(&serde_json::to_string(data).ok()?);
        done = at.checked_add(2)?;
        if body.get(*at..done)? != "\"\"" {
            return None;
        }
    }
    full.push_str(body.get(done..)?);
    Some(full)
}

/// What is before the first string literal of `json`, the literal with its quotes, and what is after.
fn next_string(json: &str) -> Option<(&str, &str, &str)> {
    let start = json.find('"')?;
    let inner = json.get(start + 1..)?;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    let end = start + 1 + end + 1;
    Some((json.get(..start)?, json.get(start..end)?, json.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(c: char) -> String {
        c.to_string().repeat(LARGE + 1)
    }

    #[test]
    fn strings_over_the_limit_are_cut_out_and_come_back() {
        let (a, b) = (large('ä'), format!("\"\\\n{}\u{1}", large('x')));
        let full = serde_json::json!({"a": a, "list": ["kurz", b, 1.5e300], "z": "\\"}).to_string();
        let split = split(&full).expect("two are large");
        assert_eq!(
            split.body,
            r#"{"a":"","list":["kurz","",1.5e+300],"z":"\\"}"#
        );
        let data: Vec<_> = split.payloads.iter().map(|(_, data)| data).collect();
        assert_eq!(data, [&a, &b]);
        assert_eq!(join(&split.body, &split.payloads), Some(full));
    }

    #[test]
    fn keys_and_strings_at_the_limit_stay() {
        let at_the_limit = "x".repeat(LARGE);
        let full = serde_json::json!({large('k'): at_the_limit}).to_string();
        assert_eq!(split(&full), None);
    }

    #[test]
    fn an_offset_that_points_elsewhere_is_noticed() {
        let payloads = [(4, large('x'))];
        assert_eq!(join(r#"{"a":""}"#, &payloads), None);
        assert_eq!(join("{", &payloads), None);
    }
}
