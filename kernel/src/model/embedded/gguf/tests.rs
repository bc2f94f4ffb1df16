use std::fs;

use super::*;
use crate::model::embedded::{shape::Dimensions, tokens::Tokens};

/// A whole model file of a few kilobytes.
struct Builder {
    entries: Vec<(&'static str, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>)>,
}

fn text(value: &str) -> Vec<u8> {
    let length = (value.len() as u64).to_le_bytes();
    [length.as_slice(), value.as_bytes()].concat()
}

fn typed(kind: u32, value: &[u8]) -> Vec<u8> {
    [kind.to_le_bytes().as_slice(), value].concat()
}

fn list(kind: u32, values: &[Vec<u8>]) -> Vec<u8> {
    let count = (values.len() as u64).to_le_bytes();
    let head = [kind.to_le_bytes().as_slice(), count.as_slice()].concat();
    typed(9, &[head, values.concat()].concat())
}

impl Builder {
    fn new(family: &str) -> Self {
        let number = |n: u32| typed(4, &n.to_le_bytes());
        let words = ["a", "b", "<|im_end|>", "<|im_start|>"].map(text);
        let types = [1_i32, 1, 3, 3].map(|t| t.to_le_bytes().to_vec());
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![8, 4]),
            ("output_norm.weight".to_owned(), vec![8]),
        ];
        for (name, shape) in [
            ("attn_q.weight", vec![8, 8]),
            ("attn_k.weight", vec![8, 4]),
            ("attn_v.weight", vec![8, 4]),
            ("attn_output.weight", vec![8, 8]),
            ("attn_norm.weight", vec![8]),
            ("ffn_norm.weight", vec![8]),
            ("ffn_gate.weight", vec![8, 16]),
            ("ffn_up.weight", vec![8, 16]),
            ("ffn_down.weight", vec![16, 8]),
        ] {
            tensors.push((format!("blk.0.{name}"), shape));
        }
        Self {
            entries: vec![
                ("general.architecture", typed(8, &text(family))),
                ("llama.block_count", number(1)),
                ("llama.context_length", number(64)),
                ("llama.embedding_length", number(8)),
                ("llama.attention.head_count", number(2)),
                ("llama.attention.head_count_kv", number(1)),
                ("tokenizer.ggml.model", typed(8, &text("gpt2"))),
                ("tokenizer.ggml.tokens", list(8, &words)),
                ("tokenizer.ggml.token_type", list(5, &types)),
                ("tokenizer.ggml.merges", list(8, &[])),
                ("tokenizer.ggml.eos_token_id", number(2)),
            ],
            tensors,
        }
    }

    /// The bytes of the file, and how many of them are its header.
    fn build(&self) -> (Vec<u8>, usize) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        let mut offset = 0_u64;
        for (name, shape) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset += (shape.iter().product::<u64>() * 4).next_multiple_of(32);
        }
        let header = bytes.len();
        bytes.resize(header.next_multiple_of(32) + offset as usize, 0);
        (bytes, header)
    }
}

/// Opens a file of these bytes as far as any reader of it goes.
fn open(bytes: &[u8]) -> Result<(), ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    Gguf::open(&path, Detail::Outline)?;
    let gguf = Gguf::open(&path, Detail::Full)?;
    let shape = Dimensions::of(&gguf)?;
    Tokens::of(&gguf, shape.vocabulary)?;
    let mut file = File::open(&path).unwrap();
    for name in gguf.content.tensor_infos.keys() {
        let _ = gguf.tensor(&mut file, name);
    }
    Ok(())
}

fn complaint(bytes: &[u8]) -> String {
    open(bytes).unwrap_err().to_string()
}

#[test]
fn a_whole_file_is_opened() {
    open(&Builder::new("llama").build().0).unwrap();
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    let (bytes, header) = Builder::new("llama").build();
    for cut in (0..header).chain((header..bytes.len() - 32).step_by(61)) {
        let error = complaint(&bytes[..cut]);
        let expected = if cut < 4 { "no GGUF file" } else { "truncated" };
        assert!(error.contains(expected), "cut at {cut}: {error}");
    }
}

#[test]
fn flipped_bytes_of_the_header_never_panic() {
    let (bytes, header) = Builder::new("llama").build();
    for at in 0..header {
        for flip in [0x01, 0x80, 0xff] {
            let mut spoilt = bytes.clone();
            spoilt[at] ^= flip;
            // Some flips make another valid file; none may do worse than fail.
            let _ = open(&spoilt);
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let (bytes, _) = Builder::new("llama").build();
    let mut counts = bytes.clone();
    counts[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut version = bytes;
    version[4] = 1;
    for (bytes, says) in [
        (b"<html>".to_vec(), "is no GGUF file"),
        (
            counts,
            "corrupt (it claims 18446744073709551615 entries); delete it and run `gpak models pull`",
        ),
        (version, "GGUF version 1"),
        (Builder::new("mamba").build().0, "is a `mamba` model"),
    ] {
        let error = complaint(&bytes);
        assert!(error.contains(says), "{error}");
    }
    let missing = Gguf::open(Path::new("/nowhere/model.gguf"), Detail::Full);
    let error = missing.err().unwrap().to_string();
    assert!(
        error.contains("does not exist; `gpak models pull`"),
        "{error}"
    );
    let folder = Gguf::open(Path::new("/"), Detail::Full);
    assert!(folder.err().unwrap().to_string().contains("is no file"));
}
