//! Which episodes of a part come into question, and how well the words and the vectors of each fit.

use super::{
    akin::Asked,
    part::{Direction, NONE, Part, Row, Sieve},
    sketch::{Best, Near},
};

/// Candidates by words, where not all rows are candidates.
const BY_WORDS: usize = 1000;

/// Candidates by vectors, likewise.
const BY_MEANING: usize = 500;

/// Rows of which the sketches look nearest, and that are compared whole.
const LOOKED_AT: usize = 4000;

/// Rows that are candidates for no reason, likewise, so that what is usual is known.
const SAMPLE: usize = 512;

/// A row and how well it fits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) place: u32,
    /// BM25.
    pub(super) words: f32,
    /// How like its vector is to the question's.
    pub(super) meaning: f32,
    /// The mean of that and of its neighbours': for vectors that are means of words this is close to the
    /// likeness of the texts put together.
    pub(super) context: f32,
}

/// The candidates of a part, in the order of their places.
pub(super) struct Found<'a> {
    pub(super) part: &'a Part,
    pub(super) candidates: Vec<Candidate>,
    /// Numbers of the speakers whom the question names.
    pub(super) speakers: Vec<u32>,
}

/// Looks in a part. Up to `exact` rows are all candidates; of more, only those that the words or the vector
/// are likely to find.
pub(super) fn find<'a>(
    part: &'a Part,
    asked: &Asked,
    direction: &Direction,
    sieve: Option<&Sieve>,
    exact: usize,
) -> Found<'a> {
    let live = part.rows.len() - part.dead;
    let (words, scored) = part.postings.score(&part.rows, live, asked);
    let admits = |row: &Row| row.id > 0 && sieve.is_none_or(|sieve| sieve.admits(row));
    let admitted = || {
        let rows = part.rows.iter().zip(0..);
        rows.filter(|(row, _)| admits(row)).map(|(_, place)| place)
    };
    let few = part.rows.len() <= exact || (sieve.is_some() && admitted().count() <= exact);
    let (places, likes): (Vec<u32>, Option<Vec<f32>>) = if few {
        // One pass over all vectors costs less than jumping to more than a few of them.
        let all = part.rows.len() <= exact;
        (admitted().collect(), all.then(|| part.all_like(direction)))
    } else {
        let mut places = best_by_words(&words, scored, |place| is(part, place, &admits));
        places.extend(nearest(part, direction, |place| is(part, place, &admits)));
        let step = part.rows.len().div_ceil(SAMPLE);
        places.extend((0..part.rows.len() as u32).step_by(step.max(1)));
        places.extend(neighbours(part, &places));
        places.sort_unstable();
        places.dedup();
        places.retain(|place| is(part, *place, &admits));
        (places, None)
    };
    let like = |place: u32| match &likes {
        Some(likes) => likes.get(place as usize).copied().unwrap_or(0.0),
        None => part.like(direction, place),
    };
    let candidate = |place: u32| {
        let meaning = like(place);
        Candidate {
            place,
            words: words.get(place as usize).copied().unwrap_or(0.0),
            meaning,
            context: context(part, place, meaning, &like),
        }
    };
    Found {
        part,
        candidates: places.into_iter().map(candidate).collect(),
        speakers: part.named(&asked.own),
    }
}

fn is(part: &Part, place: u32, admits: &impl Fn(&Row) -> bool) -> bool {
    part.rows.get(place as usize).is_some_and(admits)
}

fn context(part: &Part, place: u32, own: f32, like: &impl Fn(u32) -> f32) -> f32 {
    let Some(row) = part.rows.get(place as usize) else {
        return own;
    };
    let around = [row.before, row.after].into_iter();
    let (count, sum) = around
        .filter(|place| *place != NONE)
        .fold((1.0, own), |(count, sum), place| {
            (count + 1.0, sum + like(place))
        });
    sum / count
}

fn neighbours(part: &Part, places: &[u32]) -> Vec<u32> {
    let rows = places
        .iter()
        .filter_map(|place| part.rows.get(*place as usize));
    let around = rows.flat_map(|row| [row.before, row.after]);
    around.filter(|place| *place != NONE).collect()
}

/// The places of the best by words.
fn best_by_words(words: &[f32], mut scored: Vec<u32>, admits: impl Fn(u32) -> bool) -> Vec<u32> {
    scored.sort_unstable();
    let mut best = Best::new(BY_WORDS);
    for place in scored {
        if let Some(score) = words.get(place as usize).filter(|_| admits(place)) {
            best.offer(Near {
                like: *score,
                place,
            });
        }
    }
    best.take().into_iter().map(|near| near.place).collect()
}

/// The places of the nearest rows.
fn nearest(part: &Part, direction: &Direction, admits: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut best = Best::new(BY_MEANING);
    match &part.sketch {
        Some(sketch) => {
            let mut near = sketch.nearest(&direction.values, LOOKED_AT, &admits);
            near.sort_unstable_by_key(|near| near.place);
            for near in near {
                best.offer(Near {
                    like: part.like(direction, near.place),
                    ..near
                });
            }
        }
        None => {
            for (like, place) in part.all_like(direction).into_iter().zip(0..) {
                if best.wants(like) && admits(place) {
                    best.offer(Near { like, place });
                }
            }
        }
    }
    best.take().into_iter().map(|near| near.place).collect()
}
