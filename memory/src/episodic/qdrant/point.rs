//! What a collection looks like, and an episode as a point of it.
//!
//! A point has three named vectors, of which the products with a question's are what recall asks of the parts of an
//! index: `meaning` (its vector), `context` (the mean of it and its neighbours') and, sparse, `words` (BM25 of
//! each term but the term's rarity, which Qdrant multiplies in). Its payload is what filters ask for, and the
//! episode.

use std::collections::HashMap;

use gpak_kernel::memory::{Episode, EpisodeId, Filter};
use qdrant_client::qdrant::{
    Condition, CreateCollection, CreateCollectionBuilder, CreateFieldIndexCollection,
    CreateFieldIndexCollectionBuilder, Distance, FieldType, Filter as Conditions,
    KeywordIndexParamsBuilder, Modifier, NamedVectors, PointId, PointStruct, Range,
    SparseVectorParamsBuilder, SparseVectorsConfigBuilder, Value, Vector, VectorParamsBuilder,
    VectorsConfigBuilder,
};

use super::outbox::{Row, Told};
use crate::episodic::{
    postings::{Turn, weights},
    words::Term,
};

pub(super) const MEANING: &str = "meaning";
pub(super) const CONTEXT: &str = "context";
pub(super) const WORDS: &str = "words";

/// The key of the payload that has the episode.
const EPISODE: &str = "episode";

/// Words of a usual turn and its neighbours. A server counts no mean of them.
const MEAN: f32 = 40.0;

/// Keys of the payload by which filters ask, beside the namespace and the time.
const KEYWORDS: [&str; 6] = ["kind", "label", "run", "conversation", "speaker", "tags"];

/// The request that makes a collection.
pub(super) fn collection(name: &str, dimension: usize) -> CreateCollection {
    let mut vectors = VectorsConfigBuilder::default();
    for vector in [MEANING, CONTEXT] {
        // Not the cosine: the mean of vectors of length 1 is shorter, and that tells something.
        let size = VectorParamsBuilder::new(dimension as u64, Distance::Dot);
        vectors.add_named_vector_params(vector, size);
    }
    let mut sparse = SparseVectorsConfigBuilder::default();
    let rarity = SparseVectorParamsBuilder::default().modifier(Modifier::Idf);
    sparse.add_named_vector_params(WORDS, rarity);
    CreateCollectionBuilder::new(name)
        .vectors_config(vectors)
        .sparse_vectors_config(sparse)
        .build()
}

/// The requests that index what filters ask for.
pub(super) fn indexes(collection: &str) -> Vec<CreateFieldIndexCollection> {
    let index = |key: &str, kind| CreateFieldIndexCollectionBuilder::new(collection, key, kind);
    let tenant = KeywordIndexParamsBuilder::default().is_tenant(true);
    let mut all = vec![
        index("namespace", FieldType::Keyword)
            .field_index_params(tenant)
            .build(),
        index("at", FieldType::Integer).build(),
    ];
    all.extend(KEYWORDS.map(|key| index(key, FieldType::Keyword).build()));
    all
}

/// The id of an episode's point: its name as a UUID.
pub(super) fn point_id(id: EpisodeId) -> PointId {
    let digits = id.to_string();
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    let groups = groups.map(|range| digits.get(range).unwrap_or_default().to_owned());
    PointId::from(groups.join("-"))
}

/// An episode as a point.
pub(super) fn point(told: &Told) -> PointStruct {
    let episode = &told.own.episode;
    let mut vectors = HashMap::new();
    let own = unit(&told.own.vector);
    if !own.is_empty() {
        let context = context(&own, [&told.before, &told.after]);
        vectors.insert(MEANING.to_owned(), Vector::from(own));
        vectors.insert(CONTEXT.to_owned(), Vector::from(context));
    }
    let turn = Turn {
        own: episode,
        before: told.before.as_ref().map(|row| &row.episode),
        before2: told.before2.as_ref().map(|row| &row.episode),
        after: told.after.as_ref().map(|row| &row.episode),
    };
    let mut words: HashMap<u32, f32> = HashMap::new();
    for (term, weight) in weights(&turn, MEAN) {
        *words.entry(index(term)).or_default() += weight;
    }
    if !words.is_empty() {
        let words: Vec<(u32, f32)> = words.into_iter().collect();
        vectors.insert(WORDS.to_owned(), Vector::from(words.as_slice()));
    }
    PointStruct {
        id: Some(point_id(episode.id())),
        payload: payload(episode),
        vectors: Some(NamedVectors { vectors }.into()),
    }
}

/// The place of a term in sparse vectors, which have 32 bits for it.
pub(super) fn index(term: Term) -> u32 {
    (term ^ (term >> 32)) as u32
}

/// The vector with length 1; empty for one that says nothing.
pub(super) fn unit(values: &[i8]) -> Vec<f32> {
    let square: f32 = values.iter().map(|v| f32::from(*v) * f32::from(*v)).sum();
    if square == 0.0 {
        return Vec::new();
    }
    let length = square.sqrt();
    values.iter().map(|v| f32::from(*v) / length).collect()
}

/// The mean of a vector and its neighbours'.
fn context(own: &[f32], near: [&Option<Row>; 2]) -> Vec<f32> {
    let near: Vec<Vec<f32>> = near
        .into_iter()
        .flatten()
        .map(|r| unit(&r.vector))
        .collect();
    let count = (near.len() + 1) as f32;
    let mut sum = own.to_vec();
    for near in near {
        sum.iter_mut()
            .zip(near)
            .for_each(|(sum, part)| *sum += part);
    }
    sum.iter_mut().for_each(|part| *part /= count);
    sum
}

fn payload(episode: &Episode) -> HashMap<String, Value> {
    let body = serde_json::to_string(episode).unwrap_or_default();
    let mut payload: HashMap<String, Value> = HashMap::new();
    let mut put = |key: &str, value: Value| payload.insert(key.to_owned(), value);
    put(EPISODE, body.into());
    put("namespace", episode.namespace.clone().into());
    put("kind", episode.kind.as_str().into());
    put("label", episode.label.to_string().into());
    put("at", episode.at.as_microsecond().into());
    if let Some(origin) = episode.origin {
        put("run", origin.run.to_string().into());
    }
    if let Some(conversation) = &episode.conversation {
        put("conversation", conversation.clone().into());
    }
    if let Some(speaker) = &episode.speaker {
        put("speaker", speaker.clone().into());
    }
    if !episode.tags.is_empty() {
        put("tags", episode.tags.clone().into());
    }
    payload
}

/// The episode that a point has.
pub(super) fn episode(payload: &HashMap<String, Value>) -> Option<Episode> {
    serde_json::from_str(payload.get(EPISODE)?.as_str()?).ok()
}

/// What a filter lets through. Times are compared to the microsecond; whoever has the episodes compares them again.
pub(super) fn conditions(filter: &Filter) -> Conditions {
    let mut all = Vec::new();
    if let Some(namespace) = &filter.namespace {
        all.push(Condition::matches("namespace", namespace.clone()));
    }
    let any = |key: &str, values: Vec<String>| Condition::matches(key, values);
    if !filter.kinds.is_empty() {
        let kinds = filter.kinds.iter().map(|kind| kind.as_str().to_owned());
        all.push(any("kind", kinds.collect()));
    }
    if let Some(run) = filter.run {
        all.push(Condition::matches("run", run.to_string()));
    }
    if let Some(conversation) = &filter.conversation {
        all.push(Condition::matches("conversation", conversation.clone()));
    }
    if !filter.labels.is_empty() {
        let labels = filter.labels.iter().map(ToString::to_string);
        all.push(any("label", labels.collect()));
    }
    all.extend(
        filter
            .tags
            .iter()
            .map(|tag| Condition::matches("tags", tag.clone())),
    );
    if let Some(time) = &filter.time {
        let range = Range {
            gte: Some(time.start.as_microsecond() as f64),
            lte: Some(time.end.as_microsecond() as f64),
            ..Range::default()
        };
        all.push(Condition::range("at", range));
    }
    Conditions::must(all)
}
