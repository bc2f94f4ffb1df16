//! What is remembered of other runs, as the model is told it.

use std::fmt::Write as _;

use super::shorten;
use crate::{
    label::Label,
    memory::{Hit, Kind},
};

/// What stands before it. It is of other times: what it says of files may not be so any more.
const OPENING: &str = "What you remember of earlier work. It may be out of date: what files and results say \
                       now counts more.";

/// Bytes of one memory.
const LONGEST: usize = 1200;

/// The memories and, as they stand in one message, the label of the one that is trusted least. None if there
/// are none.
pub(crate) fn told(hits: &[Hit]) -> Option<(String, Label)> {
    let label = hits.iter().fold(Label::Own, |label, hit| {
        label.or_less_trusted(&hit.episode.label)
    });
    let mut text = OPENING.to_owned();
    for hit in hits {
        let _ = write!(text, "\n- {}", line(hit));
    }
    (!hits.is_empty()).then_some((text, label))
}

fn line(hit: &Hit) -> String {
    let episode = &hit.episode;
    let day = episode.at.strftime("%F");
    let source = match (episode.kind, &episode.label) {
        (Kind::Procedural, _) => String::new(),
        (_, Label::User) => ", the user".to_owned(),
        (_, Label::Own) => String::new(),
        (_, from) => format!(", from {from}"),
    };
    let text = shorten::head(&episode.text, LONGEST);
    let text = text.replace('\n', "\n  ");
    format!("[{day}{source}] {text}")
}
