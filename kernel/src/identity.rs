//! Who the agent is, and which of its two selves speaks.
//!
//! - A [`Capsule`] is what the self consists of: a core that never changes (name, persona,
//!   constitution), a mission, constraints, and items that were learnt.
//! - A [`History`] is the signed chain of [`Version`]s that led to it. Each is a list of [`Edit`]s, never a
//!   rewrite of the whole, and carries the hash of the one before.
//! - A [`Mind`] is two models as one: the active self and the core self. [`route`] says who is asked.
//! - A [`Prompt`] is what a capsule says to a model, in so many tokens, signed: by a template ([`compile`]), or, where
//!   that leaves something out, in fewer words of a model's ([`condense`]).
//! - [`reflection`]: how it improves by what was experienced, and by what that is checked.
//!
//! What anybody may change: see [`Edit`]. What a receiver refuses, and in which words: see [`Refusal`].
//! Nothing here reads a clock, a file or chance: the secret key and the time come in.

mod asking;
mod canonical;
mod capsule;
mod compact;
mod compile;
mod condense;
mod edit;
mod history;
mod key;
mod mind;
pub mod reflection;
mod router;
mod version;

pub use capsule::{Capsule, Core, EVIDENCE, ITEMS, ItemId, LONGEST_TEXT, Learned, MOST_BYTES};
pub use compile::{Prompt, Share, Told, TooSmall, compile};
pub use condense::{NotCondensed, condense};
pub use edit::{Edit, EditError};
pub use history::{Change, Founding, History};
pub use key::{PublicKey, SecretKey, Signature};
pub use mind::Mind;
pub use router::{
    Limits, Policy, Route, Rules, Signals, Speaker, Spoken, Why, fail_over, is_private, route,
};
pub use version::{Header, IdentityId, Refusal, Version};
