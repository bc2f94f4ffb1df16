//! The wire contract of gpak: what nodes say to each other, and nothing else.
//!
//! The contract between a node and its core, and between the fleet and its dashboard, is kept here as
//! `.proto` files with the code generated from them. No message is defined yet: the first comes with
//! the link between the active self and the core self. Until then a run's events, as
//! `gpak runs events` prints them, are the only form in which anything of a run leaves a process.
//!
//! This crate uses none of ours, so that a client in another language needs nothing but its files.
