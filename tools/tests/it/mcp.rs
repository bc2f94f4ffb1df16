//! The MCP client against servers that others wrote and one that is made to be trouble.

pub mod bed;
mod conformance;
pub mod issuer;
mod oauth;
mod servers;
