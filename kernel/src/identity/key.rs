//! Keys and signatures: Ed25519 (RFC 8032).

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::label::serde_as_text;

/// Signs. It is wiped from memory when it is dropped, and is neither shown nor serialised by accident.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of these bytes, which must come from a source of randomness fit for keys.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// What its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The key as text, for its file: 64 hex digits.
    pub fn reveal(&self) -> String {
        hex(self.0.as_bytes())
    }

    /// Signs `bytes` for one purpose: a signature made for another one does not hold.
    pub fn sign(&self, purpose: &str, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&message(purpose, bytes)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl FromStr for SecretKey {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bytes = unhex(s).ok_or("a secret key is 64 hex digits")?;
        Ok(Self::from_bytes(&bytes))
    }
}

/// Checks signatures. Written as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether the signature was made with this key for this purpose over these bytes. Strict, so that no
    /// second signature can be made from one, and no key of small order signs anything.
    pub fn holds(&self, purpose: &str, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        let message = message(purpose, bytes);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bytes = unhex(s).ok_or("a public key is 64 hex digits")?;
        match VerifyingKey::from_bytes(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(format!("`{s}` is no public key of Ed25519")),
        }
    }
}

serde_as_text!(PublicKey);

/// A signature. Written as 128 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (point, scalar) = halves(&self.0);
        write!(f, "{}{}", hex(&point), hex(&scalar))
    }
}

impl FromStr for Signature {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let halves = s.split_at_checked(64);
        let read = halves.and_then(|(point, scalar)| Some((unhex(point)?, unhex(scalar)?)));
        let (point, scalar) = read.ok_or("a signature is 128 hex digits")?;
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(point.into_iter().chain(scalar)) {
            *to = from;
        }
        Ok(Self(bytes))
    }
}

serde_as_text!(Signature);

/// A signature is two numbers of 32 bytes.
fn halves(bytes: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut point, mut scalar) = ([0; 32], [0; 32]);
    for (to, from) in point.iter_mut().chain(&mut scalar).zip(bytes) {
        *to = *from;
    }
    (point, scalar)
}

/// What is signed: the purpose, a zero byte, which no purpose contains, and the bytes.
fn message(purpose: &str, bytes: &[u8]) -> Vec<u8> {
    [purpose.as_bytes(), &[0], bytes].concat()
}

/// 32 bytes as hex digits; a BLAKE3 hash is written so, too.
fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    blake3::Hash::from_hex(text)
        .ok()
        .map(|hash| *hash.as_bytes())
}
