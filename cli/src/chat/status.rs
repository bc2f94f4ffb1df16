//! What is known of a conversation, and the line above the prompt that shows it.

use gpak_kernel::{
    event::{PlanItem, Strategy},
    model::Usage,
    policy::Spent,
    run::{State, Turn},
};

use crate::show;

/// What is known of a conversation, as of its last entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The model, as `provider/name`.
    pub model: String,
    /// Tokens of its window.
    pub window: u32,
    /// What the last reply took: what it was shown and what it said fills the window.
    pub last: Usage,
    /// What was used up so far.
    pub spent: Spent,
    /// The model's plan.
    pub plan: Vec<PlanItem>,
    /// The way of working.
    pub strategy: Strategy,
}

impl Facts {
    /// Takes in what is known of the run.
    pub fn take(&mut self, state: &State) {
        if let Some(setup) = &state.setup {
            self.model = setup.model.id();
            self.window = setup.model.window;
        }
        let last = state.turns.iter().rev().find_map(|turn| match turn {
            Turn::Replied { reply, .. } => Some(reply.usage),
            Turn::Said { .. } => None,
        });
        self.last = last.unwrap_or_default();
        self.spent = state.spent;
        self.plan.clone_from(&state.plan);
        self.strategy = state.strategy;
    }

    /// `embedded/qwen · 1.2k of 8.2k tokens (15 %) · $0.00 · 41 s`
    pub fn line(&self) -> String {
        let used = self.last.input + self.last.output;
        let window = u64::from(self.window);
        let percent = (used * 100).checked_div(window).unwrap_or_default();
        let time = std::time::Duration::from_millis(self.spent.wall_ms);
        format!(
            "{} · {} of {} tokens ({percent} %) · {} · {}",
            self.model,
            show::thousands(used),
            show::thousands(window),
            dollars(self.spent.cost),
            show::seconds(time),
        )
    }
}

fn dollars(cost: f64) -> String {
    if cost > 0.0 && cost < 0.1 {
        format!("${cost:.4}")
    } else {
        format!("${cost:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_model_window_cost_and_time() {
        let mut facts = Facts {
            model: "openai/gpt-5-mini".into(),
            window: 128_000,
            ..Facts::default()
        };
        assert_eq!(
            facts.line(),
            "openai/gpt-5-mini · 0 of 128.0k tokens (0 %) · $0.00 · 0.0 s"
        );
        facts.last = Usage {
            input: 31_000,
            output: 1000,
            ..Usage::default()
        };
        facts.spent = Spent {
            cost: 0.0123,
            wall_ms: 65_000,
            ..Spent::default()
        };
        assert_eq!(
            facts.line(),
            "openai/gpt-5-mini · 32.0k of 128.0k tokens (25 %) · $0.0123 · 1 min 5 s"
        );
        facts.spent.cost = 2.5;
        facts.window = 0;
        assert!(facts.line().contains("(0 %) · $2.50"), "{}", facts.line());
    }
}
