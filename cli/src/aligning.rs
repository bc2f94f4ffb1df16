//! One latent space of a core and its nodes: vectors that a node made are mapped into the space of the core's
//! memory, where that finds nearly what making them anew would.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gpak_kernel::memory::{Filter, Memory};
use gpak_memory::embed::{AlignError, Alignment, Embedder, FEWEST, StaticEmbedder};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    failure::{Failure, file},
    home::{Home, write_whole},
    remembering,
    settings::Settings,
};

/// What mapped vectors must find at least, as a part of what the memory's own find: otherwise they are made anew.
const GOOD: f64 = 0.95;
/// Texts that a map is fitted on, at most.
const MOST: usize = 2_000;
/// Records that are read at once.
const BATCH: usize = 500;

/// A map as it is kept, with what it was fitted on.
#[derive(Serialize, Deserialize)]
struct Fitted {
    texts: usize,
    alignment: Alignment,
}

/// The map from what nodes embed with, unless they are told otherwise, to what this memory does: the one that is
/// kept, or one that is fitted on the memory's own texts, where either embedder is another now or there are twice
/// as many texts. None where both embed alike, where there are too few texts to fit on, or where the map is not
/// good enough.
///
/// # Errors
/// If an embedder does not answer, or a file cannot be read or written.
pub async fn for_nodes(
    home: &Home,
    settings: &Settings,
    memory: &dyn Memory,
) -> Result<Option<Alignment>, Failure> {
    let (theirs, ours) = (
        Arc::new(StaticEmbedder::load()?),
        remembering::embedder(home, settings).await?,
    );
    let kept = home.cache.join("alignment.json");
    between(theirs, ours, memory, &kept).await
}

async fn between(
    from: Arc<dyn Embedder>,
    to: Arc<dyn Embedder>,
    memory: &dyn Memory,
    kept: &Path,
) -> Result<Option<Alignment>, Failure> {
    if from.id() == to.id() {
        return Ok(None);
    }
    let texts = texts(memory).await?;
    let is_current = |fitted: &Fitted| {
        let of = &fitted.alignment;
        of.from == from.id() && of.to == to.id() && texts.len() < fitted.texts.saturating_mul(2)
    };
    let alignment = match read(kept)?.filter(is_current) {
        Some(fitted) => fitted.alignment,
        None if texts.len() < FEWEST => return Ok(None),
        None => fit(from, to, texts, kept.to_owned()).await?,
    };
    Ok(Some(alignment).filter(is_good))
}

/// Where no text has halves to look for, the nearest by the other embedder must be found again.
fn is_good(alignment: &Alignment) -> bool {
    alignment.kept.unwrap_or(alignment.recall) >= GOOD
}

/// Off the threads that serve: it takes seconds.
async fn fit(
    from: Arc<dyn Embedder>,
    to: Arc<dyn Embedder>,
    texts: Vec<String>,
    kept: PathBuf,
) -> Result<Alignment, Failure> {
    let fitting = move || {
        let fit = Alignment::between(from.as_ref(), to.as_ref(), &texts);
        let alignment = Handle::current().block_on(fit).map_err(unaligned)?;
        let fitted = Fitted {
            texts: texts.len(),
            alignment,
        };
        let bytes = serde_json::to_vec(&fitted).map_err(|why| Failure::new(why.to_string()))?;
        write_whole(&kept, &bytes)?;
        Ok(fitted.alignment)
    };
    spawn_blocking(fitting)
        .await
        .map_err(|why| Failure::new(format!("the fit broke down: {why}")))?
}

fn unaligned(why: AlignError) -> Failure {
    Failure::new(format!("what nodes embed cannot be mapped: {why}"))
}

/// None where there is no file, or one of another version.
fn read(kept: &Path) -> Result<Option<Fitted>, Failure> {
    match fs::read(kept) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(file(kept)(why)),
    }
}

/// The first texts of the memory.
async fn texts(memory: &dyn Memory) -> Result<Vec<String>, Failure> {
    let (mut after, mut texts) = (None, Vec::new());
    while texts.len() < MOST {
        let records = memory.export(&Filter::default(), after, BATCH).await?;
        let Some(last) = records.last() else { break };
        after = Some(last.place);
        texts.extend(records.into_iter().map(|record| record.episode.text));
    }
    texts.truncate(MOST);
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use gpak_kernel::{
        label::Label,
        memory::{Episode, MemoryError},
    };
    use gpak_memory::SqliteMemory;

    use super::*;

    /// Says what the built-in embedder says, in the opposite direction and the other way round.
    struct Mirrored {
        id: &'static str,
        asked: AtomicUsize,
        within: StaticEmbedder,
    }

    impl Mirrored {
        fn new(id: &'static str) -> Arc<Self> {
            Arc::new(Self {
                id,
                asked: AtomicUsize::new(0),
                within: StaticEmbedder::load().unwrap(),
            })
        }
    }

    #[async_trait]
    impl Embedder for Mirrored {
        fn id(&self) -> &str {
            self.id
        }

        fn dimension(&self) -> usize {
            self.within.dimension()
        }

        fn licence(&self) -> &str {
            "CC0-1.0"
        }

        async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let mut vectors = self.within.embed(texts).await?;
            for vector in &mut vectors {
                vector.reverse();
                vector.iter_mut().for_each(|x| *x = -*x);
            }
            Ok(vectors)
        }
    }

    fn sentence(n: usize) -> String {
        const WHO: [&str; 8] = [
            "the baker",
            "a nurse",
            "our captain",
            "the old clerk",
            "my sister",
            "the plumber",
            "a tall judge",
            "the gardener",
        ];
        const DID: [&str; 7] = [
            "painted",
            "sold",
            "repaired",
            "forgot",
            "borrowed",
            "measured",
            "photographed",
        ];
        const WHAT: [&str; 9] = [
            "the red boat",
            "a piano",
            "two lanterns",
            "the mountain hut",
            "an expensive violin",
            "the school bus",
            "her garden fence",
            "a broken clock",
            "the harbour map",
        ];
        let pick = |of: &[&str], at: usize| of.get(at % of.len()).unwrap_or(&"").to_string();
        format!(
            "{} {} {} on day {n}",
            pick(&WHO, n),
            pick(&DID, n / 3),
            pick(&WHAT, n / 2)
        )
    }

    async fn remember(memory: &SqliteMemory, numbers: std::ops::Range<usize>) {
        let episodes = numbers.map(|n| {
            Episode::new(
                sentence(n),
                Label::Own,
                "2026-03-01T00:00:00Z".parse().unwrap(),
            )
        });
        memory.remember(episodes.collect()).await.unwrap();
    }

    #[tokio::test]
    async fn a_map_is_fitted_once_and_again_when_an_embedder_or_the_memory_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let memory = SqliteMemory::open(folder.path()).unwrap();
        let kept = folder.path().join("cache/alignment.json");
        let nodes: Arc<dyn Embedder> = Arc::new(StaticEmbedder::load().unwrap());
        let ours = Mirrored::new("mirrored-1");
        let map =
            async |to: Arc<dyn Embedder>| between(nodes.clone(), to, &memory, &kept).await.unwrap();

        assert_eq!(map(nodes.clone()).await, None, "both embed alike");
        remember(&memory, 0..FEWEST - 1).await;
        assert_eq!(
            map(ours.clone()).await,
            None,
            "there is too little to fit on"
        );
        assert!(!kept.exists());

        remember(&memory, FEWEST - 1..400).await;
        let first = map(ours.clone()).await.unwrap();
        assert!(first.kept.unwrap() >= GOOD, "{:?}", first.kept);
        let asked = ours.asked.load(Ordering::Relaxed);
        assert_eq!(map(ours.clone()).await.unwrap(), first);
        assert_eq!(
            ours.asked.load(Ordering::Relaxed),
            asked,
            "the kept one is taken"
        );

        let other = map(Mirrored::new("mirrored-2")).await.unwrap();
        assert_eq!(other.to, "mirrored-2");
        remember(&memory, 400..800).await;
        let asked = ours.asked.load(Ordering::Relaxed);
        assert!(map(ours.clone()).await.is_some());
        assert!(map(ours.clone()).await.is_some());
        assert_eq!(
            ours.asked.load(Ordering::Relaxed),
            asked + 1,
            "once for both changes"
        );
        fs::write(&kept, "no map").unwrap();
        assert!(map(ours.clone()).await.is_some(), "it is made again");
    }

    #[test]
    fn a_map_that_finds_too_little_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("alignment.json");
        assert!(read(&kept).unwrap().is_none());
        let text = |recall: f64| {
            format!(
                r#"{{"texts": 200, "alignment": {{"from": "a", "to": "b", "fit": {{"fit": "procrustes"}},
                "recall": {recall}, "measured_on": 40, "rows": [], "shift": []}}}}"#
            )
        };
        for (recall, good) in [(0.94, false), (0.95, true)] {
            fs::write(&kept, text(recall)).unwrap();
            assert_eq!(is_good(&read(&kept).unwrap().unwrap().alignment), good);
        }
    }
}
