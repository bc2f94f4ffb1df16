//! The embedder that is compiled in: a table with a vector for each token of a vocabulary.
//!
//! `memory/embed/distil.py` makes the table from all-MiniLM-L6-v2 and says how; the vector of a text is the
//! mean of those of its tokens.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use gpak_kernel::memory::MemoryError;
use tokenizers::{
    models::wordpiece::WordPiece,
    normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
    tokenizer::{
        Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
        PreTokenizer,
    },
};

use super::Embedder;

static TABLE: &[u8] = include_bytes!("table.bin");

/// What the table's file begins with.
const MAGIC: &[u8] = b"GPAKEMB1";

/// Bytes of a text that are looked at; what comes later changes its mean hardly.
const LONGEST: usize = 8 << 10;

/// Batches larger than this are embedded on another thread.
const AT_ONCE: usize = 8;

/// The static embedder. Clones share it.
#[derive(Clone)]
pub struct StaticEmbedder(Arc<Table>);

struct Table {
    dimension: usize,
    scales: Vec<f32>,
    rows: &'static [i8],
    model: WordPiece,
    unknown: Option<u32>,
}

impl StaticEmbedder {
    /// Reads the table, which takes some milliseconds the first time in a process.
    ///
    /// # Errors
    /// [`MemoryError::Embedder`] if the table that was compiled in is not whole.
    pub fn load() -> Result<Self, MemoryError> {
        static SHARED: OnceLock<StaticEmbedder> = OnceLock::new();
        if let Some(shared) = SHARED.get() {
            return Ok(shared.clone());
        }
        let table = Table::read(TABLE).ok_or_else(|| {
            MemoryError::Embedder(
                "the embedding table in this gpak is not whole; install gpak again".to_owned(),
            )
        })?;
        Ok(SHARED.get_or_init(|| Self(Arc::new(table))).clone())
    }

    /// How many tokens there are.
    #[cfg(feature = "minilm")]
    pub(crate) fn size(&self) -> usize {
        self.0.scales.len()
    }

    /// The numbers of the tokens of a text.
    #[cfg(feature = "minilm")]
    pub(crate) fn tokens(&self, text: &str) -> Vec<u32> {
        self.0.tokens(text).unwrap_or_default()
    }

    /// The vectors of all tokens in the order of their numbers, each to a scale of its own.
    pub(crate) fn rows(&self) -> &'static [i8] {
        self.0.rows
    }

    /// The vector of a token by its number.
    pub(crate) fn row(&self, token: u32) -> Option<&'static [i8]> {
        self.0.row(token)
    }

    /// The vector of a word that is a token.
    pub(crate) fn row_of(&self, word: &str) -> Option<&'static [i8]> {
        self.row(self.0.model.token_to_id(word)?)
    }

    /// The letters of a token.
    pub(crate) fn token(&self, number: u32) -> Option<String> {
        self.0.model.id_to_token(number)
    }

    /// The words that are tokens, the common ones first.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words: Vec<(String, u32)> = self.0.model.get_vocab().into_iter().collect();
        words.retain(|(word, _)| word.chars().all(char::is_alphanumeric));
        words.sort_by_key(|(_, id)| *id);
        words.into_iter().map(|(word, _)| word).collect()
    }
}

impl Table {
    fn read(bytes: &'static [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (dimension, rest) = rest.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let dimension = u32::from_le_bytes(*dimension) as usize;
        let (scales, rest) = rest.split_at_checked(count * 4)?;
        let (rows, words) = rest.split_at_checked(count * dimension)?;
        let scales = scales.as_chunks::<4>().0.iter();
        let vocabulary = WordPiece::read_bytes(words).ok()?;
        let builder = WordPiece::builder().vocab(vocabulary);
        let model = builder.unk_token("[UNK]".to_owned()).build().ok()?;
        Some(Self {
            dimension,
            scales: scales.map(|scale| f32::from_le_bytes(*scale)).collect(),
            rows: as_signed(rows),
            unknown: model.token_to_id("[UNK]"),
            model,
        })
    }

    fn row(&self, token: u32) -> Option<&'static [i8]> {
        let start = token as usize * self.dimension;
        self.rows.get(start..start + self.dimension)
    }

    /// The ids of the tokens of `text`, or nothing if it cannot be cut into any.
    fn tokens(&self, text: &str) -> Option<Vec<u32>> {
        let end = text.floor_char_boundary(LONGEST);
        let mut normal = NormalizedString::from(text.get(..end)?);
        let normaliser = BertNormalizer::new(true, true, None, true);
        normaliser.normalize(&mut normal).ok()?;
        let mut pieces = PreTokenizedString::from(normal);
        BertPreTokenizer.pre_tokenize(&mut pieces).ok()?;
        let mut tokens = Vec::new();
        for (word, ..) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            tokens.extend(self.model.tokenize(word).ok()?.iter().map(|token| token.id));
        }
        Some(tokens)
    }

    fn embed(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0f32; self.dimension];
        for id in self.tokens(text).unwrap_or_default() {
            let row = self.row(id);
            let (Some(row), Some(scale)) = (row, self.scales.get(id as usize)) else {
                continue;
            };
            if Some(id) != self.unknown {
                for (sum, part) in sum.iter_mut().zip(row) {
                    *sum += scale * f32::from(*part);
                }
            }
        }
        let length = sum.iter().map(|part| part * part).sum::<f32>().sqrt();
        if length > 0.0 {
            sum.iter_mut().for_each(|part| *part /= length);
        }
        sum
    }
}

/// The same bytes, read as signed.
#[allow(unsafe_code, reason = "the table is not copied; see below")]
fn as_signed(bytes: &'static [u8]) -> &'static [i8] {
    // SAFETY: u8 and i8 have the same size and alignment, and every bit pattern is valid in both.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

#[async_trait]
impl Embedder for StaticEmbedder {
    fn id(&self) -> &str {
        "static-minilm-256-1"
    }

    fn dimension(&self) -> usize {
        self.0.dimension
    }

    fn licence(&self) -> &str {
        "Apache-2.0"
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
        let embed = |table: &Table, texts: &[String]| {
            texts
                .iter()
                .map(|text| table.embed(text))
                .collect::<Vec<_>>()
        };
        if texts.len() <= AT_ONCE {
            return Ok(embed(&self.0, texts));
        }
        let (table, texts) = (Arc::clone(&self.0), texts.to_vec());
        let made = tokio::task::spawn_blocking(move || embed(&table, &texts));
        made.await
            .map_err(|e| MemoryError::Embedder(format!("embedding was stopped: {e}")))
    }
}
