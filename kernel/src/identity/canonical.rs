//! The bytes that are hashed and signed.

use serde::Serialize;

use crate::entry::Hash;

/// The canonical bytes of a value: JSON as RFC 8785 (JSON Canonicalization Scheme) has it, so that any
/// language can check what gpak signed. Numbers of a capsule are whole and below 2^53, which RFC 8785 keeps
/// exactly (see [`EXACT`]).
///
/// Capsules and their edits are made of structs, text and whole numbers, which always serialise; if one did
/// not, its bytes would be the reason, and its signature would hold for nothing else.
pub(super) fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value)
        .unwrap_or_else(|why| format!("unserialisable: {why}").into_bytes())
}

/// The canonical bytes as text.
pub(super) fn text(value: &impl Serialize) -> String {
    String::from_utf8_lossy(&bytes(value)).into_owned()
}

/// The largest whole number that a double holds exactly together with all below it (RFC 7493, 2.2).
pub(super) const EXACT: u64 = (1 << 53) - 1;

/// The BLAKE3 hash of a value's canonical bytes, in a context of its own.
pub(super) fn hash(context: &'static str, value: &impl Serialize) -> Hash {
    Hash(blake3::derive_key(context, &bytes(value)))
}
