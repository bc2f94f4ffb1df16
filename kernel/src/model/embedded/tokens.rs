//! Text to tokens and back.
//!
//! A control token (`<|im_end|>`) ends a turn and starts another, so whoever can make one can speak
//! as the user or as the system. Text of users, tools and files therefore never becomes one: only
//! [`Tokens::markup`] makes them, and only the chat template goes through it.

use std::{collections::HashMap, sync::Arc};

use candle_core::quantized::{gguf_file::Value, tokenizer::TokenizerFromGguf};
use tokenizers::{
    PreTokenizerWrapper, Tokenizer,
    pre_tokenizers::{
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};
use toktrie::{TokRxInfo, TokTrie, TokenizerEnv};

use super::gguf::Gguf;
use crate::model::ModelError;

/// Token types of a GGUF vocabulary.
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;

/// The vocabulary of a model.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    trie: TokTrie,
    /// All that is not plain text, by its spelling.
    special: HashMap<String, u32>,
    /// Which of these end a turn or do other things that are no text.
    control: Vec<bool>,
    eos: u32,
}

impl Tokens {
    /// Builds it from a file opened with all detail.
    ///
    /// # Errors
    /// If the file's tokenizer is of a kind that the engine does not know, or contradicts itself.
    pub(super) fn of(gguf: &Gguf, vocabulary: usize) -> Result<Arc<Self>, ModelError> {
        let spelled = spellings(gguf)?;
        let types = types(gguf, spelled.len());
        if spelled.is_empty() || spelled.len() > vocabulary {
            return Err(gguf.unusable("has a vocabulary that does not fit its weights"));
        }
        let tokenizer = tokenizer(gguf)?;
        let is = |id: usize, wanted: i64| types.get(id) == Some(&wanted);
        let text_bytes = byte_alphabet();
        let mut words: Vec<Vec<u8>> = Vec::with_capacity(vocabulary);
        let mut special = HashMap::new();
        for (id, spelling) in spelled.iter().enumerate() {
            if is(id, NORMAL) {
                words.push(bytes_of(spelling, &text_bytes));
            } else {
                let marker = std::iter::once(TokTrie::SPECIAL_TOKEN_MARKER);
                words.push(marker.chain(spelling.bytes()).collect());
                special.insert((*spelling).to_owned(), id as u32);
            }
        }
        let control = (0..vocabulary).map(|id| is(id, CONTROL)).collect();
        words.resize(vocabulary, Vec::new());
        let eos = gguf.number("tokenizer.ggml.eos_token_id");
        let eos = eos.filter(|id| (*id as usize) < spelled.len());
        let eos = eos.ok_or_else(|| gguf.unusable("does not say which token ends a reply"))? as u32;
        let info = TokRxInfo::new(vocabulary as u32, eos);
        Ok(Arc::new(Self {
            tokenizer,
            trie: TokTrie::from(&info, &words),
            special,
            control,
            eos,
        }))
    }

    /// The tokens of a text. None of them is a control token, whatever the text says.
    pub(super) fn text(&self, text: &str) -> Vec<u32> {
        match self.tokenizer.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            // Only a vocabulary with holes gets here; any bytes can be spelled from the trie.
            Err(_) => self.trie.greedy_tokenize(text.as_bytes()),
        }
    }

    /// The tokens of a piece of a chat template, control tokens among them.
    pub(super) fn markup(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut plain = 0;
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some((spelling, id)) = self.special_at(rest) {
                tokens.extend(self.text(text.get(plain..at).unwrap_or_default()));
                tokens.push(id);
                at += spelling.len();
                plain = at;
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        tokens.extend(self.text(text.get(plain..).unwrap_or_default()));
        tokens
    }

    /// Whether the vocabulary has this control token.
    pub(super) fn has(&self, spelling: &str) -> bool {
        self.special.contains_key(spelling)
    }

    /// Whether a reply ends with this token.
    pub(super) fn ends(&self, token: u32) -> bool {
        token == self.eos || self.control.get(token as usize) == Some(&true)
    }

    /// The bytes of a token: a piece of UTF-8, perhaps of half a character.
    pub(super) fn bytes(&self, token: u32) -> &[u8] {
        let bytes = self.trie.token(token);
        bytes
            .strip_prefix(&[TokTrie::SPECIAL_TOKEN_MARKER])
            .unwrap_or(bytes)
    }

    /// How the vocabulary spells its token of that number.
    pub(super) fn spelling(&self, token: Option<u64>) -> String {
        let token = token.and_then(|id| u32::try_from(id).ok());
        let known = token.filter(|id| (*id as usize) < self.trie.vocab_size());
        known
            .map(|id| String::from_utf8_lossy(self.bytes(id)).into_owned())
            .unwrap_or_default()
    }

    /// The longest special token that `text` begins with.
    fn special_at(&self, text: &str) -> Option<(&str, u32)> {
        let found = self
            .special
            .iter()
            .filter(|(s, _)| text.starts_with(s.as_str()));
        let longest = found.max_by_key(|(spelling, _)| spelling.len())?;
        Some((longest.0, *longest.1))
    }
}

/// What the constraint compiler asks of a vocabulary.
pub(super) struct Vocabulary(pub(super) Arc<Tokens>);

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.0.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let text = |text: &str| self.0.text(text);
        self.0.trie.tokenize_with_greedy_fallback(bytes, text)
    }
}

/// Puts tokens back into text as they come, and holds back a character that is not complete yet.
#[derive(Default)]
pub(super) struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// The text that is complete after these bytes. What is no UTF-8 at all becomes U+FFFD.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut chunks = self.pending.utf8_chunks().peekable();
        let mut rest = Vec::new();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let cut_off = chunks.peek().is_none() && begins_character(chunk.invalid());
            if cut_off {
                rest = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending = rest;
        text
    }
}

/// Whether `bytes` could still become a character.
fn begins_character(bytes: &[u8]) -> bool {
    let expected = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 0,
    };
    bytes.len() < expected
}

fn spellings(gguf: &Gguf) -> Result<Vec<&str>, ModelError> {
    let Some(Value::Array(tokens)) = gguf.content.metadata.get("tokenizer.ggml.tokens") else {
        return Err(gguf.unusable("has no vocabulary"));
    };
    let spelled = tokens.iter().map(|token| match token {
        Value::String(text) => Ok(text.as_str()),
        _ => Err(gguf.unusable("has a vocabulary that is no text")),
    });
    spelled.collect()
}

fn types(gguf: &Gguf, count: usize) -> Vec<i64> {
    let types = match gguf.content.metadata.get("tokenizer.ggml.token_type") {
        Some(Value::Array(types)) => types.as_slice(),
        _ => &[],
    };
    let number = |value: &Value| match value {
        Value::I32(v) => i64::from(*v),
        Value::U32(v) => i64::from(*v),
        _ => NORMAL,
    };
    let known = types.iter().map(number);
    known.chain(std::iter::repeat(NORMAL)).take(count).collect()
}

fn tokenizer(gguf: &Gguf) -> Result<Tokenizer, ModelError> {
    let kind = gguf.text("tokenizer.ggml.model").unwrap_or("none");
    if kind != "gpt2" {
        return Err(gguf.unusable(format_args!(
            "has a tokenizer of the kind `{kind}`; the embedded engine knows `gpt2` (byte-level BPE) only"
        )));
    }
    let odd = |e: &dyn std::fmt::Display| {
        gguf.unusable(format_args!("has a tokenizer that does not work: {e}"))
    };
    let mut tokenizer = Tokenizer::from_gguf(&gguf.content).map_err(|e| odd(&e))?;
    let splits = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
    if let Some(splitter) = splitter(splits).map_err(|e| odd(&e))? {
        tokenizer.with_pre_tokenizer(Some(splitter));
    }
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

/// How text is split before it is merged, where candle's own table is silent or wrong: it takes
/// everything it does not know for GPT-2 with a blank put in front of every text.
fn splitter(name: &str) -> tokenizers::Result<Option<PreTokenizerWrapper>> {
    const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let whole = || ByteLevel::new(false, true, true);
    Ok(match name {
        "qwen2" | "llama3" | "smaug-bpe" | "lfm2" => None,
        "llama-bpe" | "llama-v3" => {
            let pattern = SplitPattern::Regex(LLAMA3.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
            let bytes = ByteLevel::new(false, true, false);
            Some(Sequence::new(vec![split.into(), bytes.into()]).into())
        }
        "smollm" | "starcoder" | "refact" | "command-r" => {
            Some(Sequence::new(vec![Digits::new(true).into(), whole().into()]).into())
        }
        _ => Some(whole().into()),
    })
}

/// The characters by which byte-level BPE spells bytes: printable ones stand for themselves, the
/// others are moved up behind U+0100 in order.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut moved = 0x100;
    let spell = |byte: u8| {
        let itself = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let code = if itself {
            u32::from(byte)
        } else {
            moved += 1;
            moved - 1
        };
        Some((char::from_u32(code)?, byte))
    };
    (0..=255).filter_map(spell).collect()
}

fn bytes_of(spelling: &str, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(spelling.len());
    for char in spelling.chars() {
        match alphabet.get(&char) {
            Some(byte) => bytes.push(*byte),
            None => bytes.extend(char.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_complete_characters_however_the_bytes_come() {
        let text = "aé漢🦀\u{301}z";
        for width in 1..6 {
            let mut decoder = Decoder::default();
            let pieces = text.as_bytes().chunks(width);
            let said: Vec<String> = pieces.map(|piece| decoder.push(piece)).collect();
            assert_eq!(said.concat(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_text_after_them() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"a\xff"), "a\u{fffd}");
        assert_eq!(decoder.push(b"\xe6\xbc"), "");
        assert_eq!(decoder.push(b"b"), "\u{fffd}b");
    }

    #[test]
    fn every_byte_has_one_letter() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet.get(&'\u{120}'), Some(&b' '));
        assert_eq!(alphabet.get(&'\u{10a}'), Some(&b'\n'));
        assert_eq!(alphabet.get(&'A'), Some(&b'A'));
    }
}
