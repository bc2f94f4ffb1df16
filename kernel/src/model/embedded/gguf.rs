//! Opens a GGUF file and believes nothing in it.
//!
//! The reader is our own because a file that was cut off, or is no model at all, must end in an error
//! that says what to do, and never in a huge allocation or a panic: every count and length is held
//! against the bytes that are left before it is used.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use candle_core::{
    Device, Shape,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{Content, TensorInfo, Value, VersionedMagic},
    },
};

use crate::model::ModelError;

const MAX_DEPTH: u32 = 4;
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
/// Bytes at the start of the file that stand for it in [`Gguf::identity`].
const IDENTITY_BYTES: u64 = 1 << 20;

/// A GGUF file that passed the checks: what it says of itself, and where its tensors are.
pub(super) struct Gguf {
    pub(super) path: PathBuf,
    /// Changes when the file changes: of its size, its time and its first bytes, because reading all of
    /// it at every start would cost seconds.
    pub(super) identity: [u8; 32],
    pub(super) content: Content,
}

/// How much of the metadata is kept.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Detail {
    /// Scalars and short lists. Enough to say what the model is, in milliseconds.
    Outline,
    /// The vocabulary too.
    Full,
}

impl Gguf {
    /// Reads the file's header and checks that all it promises is there.
    pub(super) fn open(path: &Path, detail: Detail) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(|error| unopened(path, &error))?;
        let broken = |problem: Problem| problem.of(path);
        let meta = file.metadata().map_err(|e| broken(e.into()))?;
        if !meta.is_file() {
            return Err(unusable(path, "is no file; name the .gguf file itself"));
        }
        let identity = identity(&file, &meta).map_err(|e| broken(e.into()))?;
        let mut header = Header::new(file, meta.len());
        let content = header.read(detail).map_err(broken)?;
        Ok(Self {
            path: path.to_owned(),
            identity,
            content,
        })
    }

    /// A number of the metadata, whatever integer type the file gave it.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.content.metadata.get(key)? {
            Value::U8(v) => Some(u64::from(*v)),
            Value::U16(v) => Some(u64::from(*v)),
            Value::U32(v) => Some(u64::from(*v)),
            Value::U64(v) => Some(*v),
            Value::I8(v) => u64::try_from(*v).ok(),
            Value::I16(v) => u64::try_from(*v).ok(),
            Value::I32(v) => u64::try_from(*v).ok(),
            Value::I64(v) => u64::try_from(*v).ok(),
            _ => None,
        }
    }

    /// A real number of the metadata.
    pub(super) fn real(&self, key: &str) -> Option<f32> {
        match self.content.metadata.get(key)? {
            Value::F32(v) => Some(*v),
            Value::F64(v) => Some(*v as f32),
            _ => None,
        }
    }

    /// A text of the metadata.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.content.metadata.get(key)? {
            Value::String(v) => Some(v),
            _ => None,
        }
    }

    /// The shape of a tensor, slowest dimension first.
    pub(super) fn shape(&self, tensor: &str) -> Option<&[usize]> {
        let info = self.content.tensor_infos.get(tensor)?;
        Some(info.shape.dims())
    }

    /// Reads a tensor. `file` is this file, opened once more so that several threads can read.
    pub(super) fn tensor(&self, file: &mut File, name: &str) -> candle_core::Result<QTensor> {
        self.content.tensor(file, name, &Device::Cpu)
    }

    /// An error about this file.
    pub(super) fn unusable(&self, what: impl std::fmt::Display) -> ModelError {
        unusable(&self.path, what)
    }
}

fn unusable(path: &Path, what: impl std::fmt::Display) -> ModelError {
    ModelError::Unusable {
        message: format!("{} {what}", path.display()),
    }
}

fn unopened(path: &Path, error: &io::Error) -> ModelError {
    match error.kind() {
        io::ErrorKind::NotFound => unusable(
            path,
            "does not exist; `gpak models pull` fetches the default model",
        ),
        io::ErrorKind::PermissionDenied => unusable(path, "may not be read by this user"),
        _ => unusable(path, format_args!("cannot be opened: {error}")),
    }
}

fn identity(file: &File, meta: &std::fs::Metadata) -> io::Result<[u8; 32]> {
    let modified = meta.modified()?.duration_since(UNIX_EPOCH);
    let modified = modified.map(|age| age.as_nanos()).unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&meta.len().to_le_bytes());
    hasher.update(&modified.to_le_bytes());
    let mut start = Vec::new();
    // A clone shares its position with `file`, so the header reader starts anew from a rewound one.
    let mut reader = file.try_clone()?;
    (&mut reader).take(IDENTITY_BYTES).read_to_end(&mut start)?;
    io::Seek::rewind(&mut reader)?;
    hasher.update(&start);
    Ok(*hasher.finalize().as_bytes())
}

/// What is wrong with the bytes.
#[derive(Debug)]
enum Problem {
    NotGguf,
    Version(u32),
    Cut { missing: u64 },
    Corrupt(String),
    Format(String),
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Problem {
    fn of(self, path: &Path) -> ModelError {
        const AGAIN: &str = "delete it and run `gpak models pull` again";
        let what = match self {
            Self::NotGguf => "is no GGUF file; gpak runs models in the GGUF format only".into(),
            Self::Version(v) => format!("is of GGUF version {v}; gpak reads versions 2 and 3"),
            Self::Cut { missing } => {
                format!("is truncated ({missing} bytes are missing); {AGAIN}")
            }
            Self::Corrupt(why) => format!("is corrupt ({why}); {AGAIN}"),
            Self::Format(why) => {
                format!("{why}; pick another quantisation of it, such as Q4_K_M")
            }
            Self::Io(error) => format!("cannot be read: {error}"),
        };
        unusable(path, what)
    }
}

fn corrupt(why: impl Into<String>) -> Problem {
    Problem::Corrupt(why.into())
}

/// Reads forward through the header of a file of `size` bytes.
struct Header<R> {
    input: BufReader<R>,
    at: u64,
    size: u64,
}

impl<R: Read> Header<R> {
    fn new(input: R, size: u64) -> Self {
        Self {
            input: BufReader::with_capacity(1 << 18, input),
            at: 0,
            size,
        }
    }

    fn read(&mut self, detail: Detail) -> Result<Content, Problem> {
        if self.size < 4 || &self.array::<4>()? != b"GGUF" {
            return Err(Problem::NotGguf);
        }
        let magic = match self.u32()? {
            2 => VersionedMagic::GgufV2,
            3 => VersionedMagic::GgufV3,
            other => return Err(Problem::Version(other)),
        };
        let (tensors, entries) = (self.u64()?, self.u64()?);
        self.fits(entries, 13)?;
        self.fits(tensors, 24)?;
        let mut metadata = HashMap::new();
        for _ in 0..entries {
            let key = self.string()?;
            let kind = self.u32()?;
            if let Some(value) = self.value(kind, detail, 0)? {
                metadata.insert(key, value);
            }
        }
        let mut tensor_infos = HashMap::new();
        for _ in 0..tensors {
            let (name, info) = self.tensor()?;
            tensor_infos.insert(name, info);
        }
        let alignment = match metadata.get("general.alignment") {
            Some(Value::U32(0)) => return Err(corrupt("its alignment is 0")),
            Some(Value::U32(bytes)) => u64::from(*bytes),
            _ => DEFAULT_ALIGNMENT,
        };
        let data = self.at.div_ceil(alignment).saturating_mul(alignment);
        for (name, info) in &tensor_infos {
            check_extent(name, info, data, self.size)?;
        }
        Ok(Content {
            magic,
            metadata,
            tensor_infos,
            tensor_data_offset: data,
        })
    }

    /// Refuses a count of things that cannot be in the rest of the file.
    fn fits(&self, count: u64, least_bytes_each: u64) -> Result<(), Problem> {
        let left = self.size.saturating_sub(self.at);
        match count.checked_mul(least_bytes_each) {
            Some(needed) if needed <= left => Ok(()),
            Some(needed) if count < 1 << 24 => Err(Problem::Cut {
                missing: needed - left,
            }),
            _ => Err(corrupt(format!("it claims {count} entries"))),
        }
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Problem> {
        self.fits(count, 1)?;
        let mut bytes = vec![0; count as usize];
        self.input.read_exact(&mut bytes)?;
        self.at += count;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), Problem> {
        self.fits(count, 1)?;
        let mut left = count as usize;
        while left > 0 {
            let ready = self.input.fill_buf()?.len().min(left);
            if ready == 0 {
                return Err(Problem::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.input.consume(ready);
            left -= ready;
        }
        self.at += count;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        self.fits(N as u64, 1)?;
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn string(&mut self) -> Result<String, Problem> {
        let length = self.u64()?;
        let bytes = self.bytes(length)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A value of the metadata, or nothing if it is an array that `detail` leaves out.
    fn value(&mut self, kind: u32, detail: Detail, depth: u32) -> Result<Option<Value>, Problem> {
        Ok(Some(match kind {
            0 => Value::U8(u8::from_le_bytes(self.array()?)),
            1 => Value::I8(i8::from_le_bytes(self.array()?)),
            2 => Value::U16(u16::from_le_bytes(self.array()?)),
            3 => Value::I16(i16::from_le_bytes(self.array()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.array()?)),
            6 => Value::F32(f32::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::String(self.string()?),
            9 => return self.list(detail, depth),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.array()?)),
            12 => Value::F64(f64::from_le_bytes(self.array()?)),
            other => return Err(corrupt(format!("it has a value of unknown type {other}"))),
        }))
    }

    fn list(&mut self, detail: Detail, depth: u32) -> Result<Option<Value>, Problem> {
        if depth == MAX_DEPTH {
            return Err(corrupt("its lists are nested too deep"));
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        let width = width(kind);
        self.fits(count, width)?;
        if detail == Detail::Outline {
            match kind {
                8 => {
                    for _ in 0..count {
                        let length = self.u64()?;
                        self.skip(length)?;
                    }
                }
                9 => {
                    for _ in 0..count {
                        self.list(detail, depth + 1)?;
                    }
                }
                _ => self.skip(count * width)?,
            }
            return Ok(None);
        }
        let mut list = Vec::new();
        for _ in 0..count {
            list.extend(self.value(kind, detail, depth + 1)?);
        }
        Ok(Some(Value::Array(list)))
    }

    fn tensor(&mut self) -> Result<(String, TensorInfo), Problem> {
        let name = self.string()?;
        let rank = self.u32()?;
        if !(1..=MAX_DIMENSIONS).contains(&rank) {
            return Err(corrupt(format!("tensor {name} has {rank} dimensions")));
        }
        let mut dims = Vec::new();
        for _ in 0..rank {
            let size = self.u64()?;
            dims.push(usize::try_from(size).map_err(|_| corrupt("a tensor is too large"))?);
        }
        dims.reverse();
        let code = self.u32()?;
        let ggml_dtype = format(code).ok_or_else(|| {
            Problem::Format(format!(
                "has tensors of a format (number {code}) that gpak does not know"
            ))
        })?;
        let offset = self.u64()?;
        let info = TensorInfo {
            ggml_dtype,
            shape: Shape::from(dims),
            offset,
        };
        Ok((name, info))
    }
}

/// A tensor format by its number in files.
fn format(code: u32) -> Option<GgmlDType> {
    Some(match code {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

/// The least bytes that one value of this type takes.
fn width(kind: u32) -> u64 {
    match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        9 => 12,
        _ => 8,
    }
}

fn check_extent(name: &str, info: &TensorInfo, data: u64, size: u64) -> Result<(), Problem> {
    let too_large = || corrupt(format!("tensor {name} is larger than any file"));
    let block = info.ggml_dtype.block_size();
    let mut elements = 1usize;
    for dim in info.shape.dims() {
        elements = elements.checked_mul(*dim).ok_or_else(too_large)?;
    }
    if !elements.is_multiple_of(block) {
        return Err(corrupt(format!("tensor {name} is cut within a block")));
    }
    let bytes = (elements / block).checked_mul(info.ggml_dtype.type_size());
    let end = bytes
        .and_then(|bytes| data.checked_add(info.offset)?.checked_add(bytes as u64))
        .ok_or_else(too_large)?;
    match end.checked_sub(size) {
        None | Some(0) => Ok(()),
        Some(missing) => Err(Problem::Cut { missing }),
    }
}

#[cfg(test)]
mod tests;
