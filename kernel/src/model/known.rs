//! What a run knows of itself that its request does not show.

use crate::label::Label;

/// What a run knows of itself, for whoever chooses between models. A model that replies has no use for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Calls in a row that were made before and gave nothing new.
    pub repeats: u32,
    /// Calls in a row that did not do what they were to do.
    pub failures: u32,
    /// Whether the run was told to try another way, as it got nowhere.
    pub no_progress: bool,
    /// Replies in a row that made no sense.
    pub malformed: u32,
    /// Tokens of the task and of the files that are shown with it.
    pub task: usize,
    /// US dollars that are left of the budget; None is without end.
    pub cost_left: Option<f64>,
    /// Where all came from that the run was ever shown, also what only a digest still tells of, and what
    /// tools read for it without showing it.
    pub sources: Vec<Label>,
    /// Whether something of it is the work of other runs, whose own sources are not known here.
    pub other_runs: bool,
}
