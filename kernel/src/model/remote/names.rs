//! Tools' names as providers allow them: `[a-zA-Z0-9_-]{1,64}`.

use std::collections::BTreeMap;

use crate::{model::CallId, tool::ToolSpec};

const LONGEST: usize = 64;

/// Two ways between the names of a request's tools and the names that are sent.
#[derive(Debug, Default)]
pub(crate) struct Names {
    sent: BTreeMap<String, String>,
    own: BTreeMap<String, String>,
}

impl Names {
    pub(crate) fn new(tools: &[ToolSpec]) -> Self {
        let mut names = Self::default();
        // A name that needs no change keeps it, whatever another's is changed to.
        for tool in tools.iter().filter(|tool| is_allowed(&tool.name)) {
            names.take(&tool.name, tool.name.clone());
        }
        for tool in tools.iter().filter(|tool| !is_allowed(&tool.name)) {
            let free = |sent: &String| !names.own.contains_key(sent);
            let sent = (0u8..=255).map(|salt| changed(&tool.name, salt)).find(free);
            names.take(&tool.name, sent.unwrap_or_else(|| changed(&tool.name, 0)));
        }
        names
    }

    fn take(&mut self, own: &str, sent: String) {
        self.own.insert(sent.clone(), own.to_owned());
        self.sent.insert(own.to_owned(), sent);
    }

    /// The name that is sent for a tool, which may be one that the model made up.
    pub(crate) fn sent(&self, own: &str) -> String {
        match self.sent.get(own) {
            Some(sent) => sent.clone(),
            None if is_allowed(own) => own.to_owned(),
            None => changed(own, 0),
        }
    }

    /// The tool that is meant by a name.
    pub(crate) fn own(&self, sent: &str) -> String {
        self.own
            .get(sent)
            .map_or_else(|| sent.to_owned(), Clone::clone)
    }
}

fn is_allowed(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(fits)
}

/// What can be kept of a name, and eight digits of its hash, so that two names stay two.
fn changed(name: &str, salt: u8) -> String {
    let kept = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let kept: String = kept.take(LONGEST - 9).collect();
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(&[salt]);
    let hash = hasher.finalize().to_hex();
    format!("{kept}_{}", hash.get(..8).unwrap_or_default())
}

/// A call's id as every server takes it: nine letters and digits (Mistral's rule, the narrowest).
pub(crate) fn call_id(id: CallId) -> String {
    format!("r{:05}c{:02}", id.reply, id.index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tool::Effect;

    fn tools<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<ToolSpec> {
        let tool = |name: &str| {
            ToolSpec::new(
                name,
                String::new(),
                serde_json::json!({"type": "object"}),
                Effect::Pure,
            )
        };
        names.into_iter().map(tool).collect()
    }

    #[test]
    fn a_name_that_is_allowed_is_sent_as_it_is() {
        let names = Names::new(&tools(["read_file", "a-b"]));
        assert_eq!(names.sent("read_file"), "read_file");
        assert_eq!(names.own("a-b"), "a-b");
        assert_eq!(names.own("made_up"), "made_up");
    }

    proptest! {
        #[test]
        fn names_are_allowed_and_come_back(all in prop::collection::btree_set(".{0,80}", 1..12)) {
            let names = Names::new(&tools(all.iter().map(String::as_str)));
            for name in &all {
                let sent = names.sent(name);
                prop_assert!(is_allowed(&sent), "{sent}");
                prop_assert_eq!(&names.own(&sent), name);
            }
        }
    }
}
