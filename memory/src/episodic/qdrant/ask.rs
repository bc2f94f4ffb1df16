//! One recall through the server: it finds candidates, and they are ordered and told as those of the file are.

use std::collections::HashMap;

use gpak_kernel::memory::{EpisodeId, Hit, Query};
use qdrant_client::qdrant::{
    Fusion, PrefetchQuery, PrefetchQueryBuilder, Query as Ask, QueryBatchPointsBuilder,
    QueryPoints, QueryPointsBuilder, ScoredPoint, VectorInput, VectorsSelector,
    point_id::PointIdOptions, vector_output::Vector,
};
use rusqlite::Connection;

use super::{
    Failed, QdrantMemory, outbox,
    point::{self, CONTEXT, MEANING, WORDS},
};
use crate::episodic::{
    Weights,
    akin::Asked,
    failure::Failure,
    find::{Candidate, Found},
    fuse::{self, Loaded, Scored},
    part::{Direction, Part},
    read::{self, Side},
    recall, words,
};

/// Candidates by each of the vectors, and matches by words of which the score is asked for.
const CANDIDATES: u64 = 300;
const MATCHES: u64 = 1000;

/// How like a vector is to one that has nothing to do with it.
const USUAL: f32 = 0.0;

/// A point that was found.
struct Point {
    id: EpisodeId,
    found: ScoredPoint,
}

impl QdrantMemory {
    pub(super) async fn ask(&self, query: &Query, weights: Weights) -> Result<Vec<Hit>, Failed> {
        let texts = std::slice::from_ref(&query.text);
        let made = self.0.local.vectors(texts).await;
        let vector = Direction::of(&made.into_iter().next().unwrap_or_default());
        let vector = point::unit(&vector.values);
        let asked = Asked::of(&query.text);
        let own = asked.own.iter().map(|term| (*term, 1.0));
        let terms = own.chain(asked.akin.iter().copied());
        let terms: Vec<(u32, f32)> = terms.map(|(t, w)| (point::index(t), w)).collect();
        let Some(requests) = self.requests(query, &vector, &terms) else {
            return Ok(Vec::new());
        };
        let batch = QueryBatchPointsBuilder::new(&self.0.collection, requests);
        let mut answers = self.0.client.query_batch(batch).await?.result.into_iter();
        let points = answers.next().map(|batch| batch.result).unwrap_or_default();
        let points: Vec<Point> = points.into_iter().filter_map(read_point).collect();
        let matches = answers.next().map(|batch| batch.result).unwrap_or_default();
        let matches = matches.into_iter().filter_map(read_point);
        let scores = matches.map(|point| (point.id, point.found.score)).collect();
        let query = query.clone();
        let hits = move |connection: &mut Connection| {
            hits(
                connection, &query, &weights, &vector, &asked.own, points, &scores,
            )
        };
        Ok(self.0.local.read(hits).await?)
    }

    /// Candidates by words and both vectors in one hybrid query, and what the words of each score.
    fn requests(
        &self,
        query: &Query,
        vector: &[f32],
        terms: &[(u32, f32)],
    ) -> Option<Vec<QueryPoints>> {
        let conditions = point::conditions(&query.filter);
        let limit = CANDIDATES.max(recall::keep(query) as u64);
        let look = |using: &str, input: VectorInput| {
            PrefetchQueryBuilder::default()
                .query(Ask::from(input))
                .using(using)
                .filter(conditions.clone())
                .limit(limit)
                .build()
        };
        let mut looks: Vec<PrefetchQuery> = Vec::new();
        if !terms.is_empty() {
            looks.push(look(WORDS, VectorInput::from(terms)));
        }
        if !vector.is_empty() {
            for using in [MEANING, CONTEXT] {
                looks.push(look(using, VectorInput::from(vector.to_vec())));
            }
        }
        if looks.is_empty() {
            return None;
        }
        let vectors = VectorsSelector {
            names: vec![MEANING.to_owned(), CONTEXT.to_owned()],
        };
        let all = limit * looks.len() as u64;
        let hybrid = looks
            .into_iter()
            .fold(QueryPointsBuilder::new(&self.0.collection), |ask, look| {
                ask.add_prefetch(look)
            })
            .query(Ask::from(Fusion::Rrf))
            .limit(all)
            .with_payload(true)
            .with_vectors(vectors)
            .build();
        let mut requests = vec![hybrid];
        if !terms.is_empty() {
            let words = QueryPointsBuilder::new(&self.0.collection)
                .query(Ask::from(VectorInput::from(terms)))
                .using(WORDS)
                .filter(conditions)
                .limit(MATCHES.max(limit))
                .build();
            requests.push(words);
        }
        Some(requests)
    }
}

/// A point with the id of its episode; nothing for one that is not ours.
fn read_point(found: ScoredPoint) -> Option<Point> {
    let PointIdOptions::Uuid(uuid) = found.id.as_ref()?.point_id_options.as_ref()? else {
        return None;
    };
    let id = uuid.replace('-', "").parse().ok()?;
    Some(Point { id, found })
}

/// The product of the question's vector with one of the point's.
fn product(point: &Point, name: &str, vector: &[f32]) -> f32 {
    let vectors = point.found.vectors.as_ref();
    match vectors.and_then(|vectors| vectors.get_vector_by_name(name)) {
        Some(Vector::Dense(own)) => own.data.iter().zip(vector).map(|(a, b)| a * b).sum(),
        _ => 0.0,
    }
}

fn hits(
    connection: &Connection,
    query: &Query,
    weights: &Weights,
    vector: &[f32],
    asked: &[words::Term],
    points: Vec<Point>,
    scores: &HashMap<EpisodeId, f32>,
) -> Result<Vec<Hit>, Failure> {
    let mut episodes = Vec::new();
    for point in points {
        // What is kept here is the truth, and what was forgotten here is gone, whatever the server has still.
        let own = read::named(connection, point.id)?;
        let row = own.as_ref().map(|(row, ..)| *row);
        let loaded = match own {
            Some((_, episode, uses)) => Some((episode, uses)),
            None if outbox::is_gone(connection, point.id)? => None,
            None => point::episode(&point.found.payload).map(|episode| (episode, 0)),
        };
        let admitted = loaded.filter(|(episode, _)| query.filter.admits(episode));
        episodes.extend(admitted.map(|(episode, uses)| (point, row, episode, uses)));
    }
    // Equal ones come in the order of their time, as they came into the file.
    episodes.sort_by_key(|(point, row, episode, _)| (episode.at, *row, point.id));
    let mut part = Part::new(0);
    let mut candidates = Vec::with_capacity(episodes.len());
    for ((point, _, episode, _), place) in episodes.iter().zip(0..) {
        part.push(i64::from(place) + 1, episode, &[]);
        candidates.push(Candidate {
            place,
            words: scores.get(&point.id).copied().unwrap_or(0.0),
            meaning: product(point, MEANING, vector),
            context: product(point, CONTEXT, vector),
        });
    }
    let found = [Found {
        speakers: part.named(asked),
        part: &part,
        candidates,
    }];
    let order = fuse::order(&found, weights, recall::keep(query), Some(USUAL));
    let load = |scored: &Scored| {
        let found = episodes.get(scored.place as usize);
        Ok(found.map(|(_, _, episode, uses)| Loaded {
            scored: scored.clone(),
            episode: episode.clone(),
            uses: *uses,
        }))
    };
    let around = |scored: &Scored| {
        let row = episodes
            .get(scored.place as usize)
            .and_then(|(_, row, ..)| *row);
        row.map_or(Ok(Vec::new()), |row| around(connection, query, row))
    };
    recall::hits(query, weights, &order, load, around)
}

/// The turns before and after one that is kept here, that the filter lets through, in order.
fn around(
    connection: &Connection,
    query: &Query,
    row: i64,
) -> Result<Vec<gpak_kernel::memory::Episode>, Failure> {
    if query.neighbours == 0 {
        return Ok(Vec::new());
    }
    let mut rows = read::near(connection, row, Side::Before, query.neighbours)?;
    rows.reverse();
    rows.extend(read::near(connection, row, Side::After, query.neighbours)?);
    let mut turns = Vec::new();
    for row in rows {
        turns.extend(read::at_row(connection, row)?.map(|(episode, _)| episode));
    }
    turns.retain(|turn| query.filter.admits(turn));
    Ok(turns)
}
