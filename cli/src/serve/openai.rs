//! OpenAI's protocol, for any client that speaks it.

pub mod tools;
