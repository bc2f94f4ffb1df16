//! Two embedders of this machine in one space, on texts that people wrote: the documentation in gpak's own
//! source.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use async_trait::async_trait;
use gpak_kernel::{memory::MemoryError, model::catalogue::testkit};
use gpak_memory::embed::{Alignment, Embedder, MiniLm, StaticEmbedder};

/// Paragraphs of documentation, each once, in an order that has nothing to do with where they stand.
fn paragraphs() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    let mut folders: Vec<_> = ["kernel", "tools", "memory", "cli"]
        .map(|part| root.join(part).join("src"))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(path).unwrap();
                found.extend(documentation(&text));
            }
        }
    }
    let mut all: Vec<String> = found.into_iter().collect();
    all.sort_by_key(|text| *blake3::hash(text.as_bytes()).as_bytes());
    all
}

fn documentation(source: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in source.lines() {
        let line = line.trim_start();
        let said = line.strip_prefix("//! ").or(line.strip_prefix("/// "));
        match (said, all.last_mut()) {
            (Some(said), Some(last)) => {
                last.push_str(said);
                last.push(' ');
            }
            _ => all.push(String::new()),
        }
    }
    all.retain(|text| text.split_whitespace().count() >= 12);
    all
}

/// Both halves of a text: what is looked for, and what it is looked for with.
fn halves(text: &str) -> (String, String) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (first, second) = words.split_at(words.len() / 2);
    (first.join(" "), second.join(" "))
}

/// How many documents of queries are among the ten that are most like them.
fn found(queries: &[Vec<f32>], documents: &[Vec<f32>]) -> usize {
    let like = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let found = queries.iter().enumerate().filter(|(at, query)| {
        let own = like(query, &documents[*at]);
        let as_good = documents.iter().filter(|other| like(query, other) >= own);
        as_good.count() <= 10
    });
    found.count()
}

/// What an embedder said, so that it is asked once for each text.
struct Said {
    id: String,
    dimension: usize,
    vectors: HashMap<String, Vec<f32>>,
}

impl Said {
    async fn by(embedder: &dyn Embedder, texts: &[String]) -> Self {
        let vectors = embedder.embed(texts).await.unwrap();
        Self {
            id: embedder.id().to_owned(),
            dimension: embedder.dimension(),
            vectors: texts.iter().cloned().zip(vectors).collect(),
        }
    }

    fn of(&self, texts: &[String]) -> Vec<Vec<f32>> {
        texts
            .iter()
            .map(|text| self.vectors[text].clone())
            .collect()
    }
}

#[async_trait]
impl Embedder for Said {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn licence(&self) -> &str {
        "Apache-2.0"
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
        Ok(self.of(texts))
    }
}

/// Five times, a fifth of the texts is held out: neither fitted on, nor chosen by. One half is looked for with the
/// other, among those of the texts that are held out.
#[tokio::test]
async fn vectors_of_the_built_in_embedder_are_found_in_the_space_of_minilm() {
    let all = paragraphs();
    assert!(all.len() > 1400, "{} paragraphs", all.len());
    let halved: Vec<_> = all.iter().map(|text| halves(text)).collect();
    let halved = halved.iter().flat_map(|(a, b)| [a.clone(), b.clone()]);
    let every: Vec<String> = all.iter().cloned().chain(halved).collect();
    let minilm = MiniLm::open(&testkit::model("minilm").unwrap()).unwrap();
    let theirs = Said::by(&minilm, &every).await;
    let ours = Said::by(&StaticEmbedder::load().unwrap(), &every).await;

    let (mut again, mut aligned, mut unaligned) = (0, 0, 0);
    for fold in 0..5 {
        let numbered = all.iter().cloned().enumerate();
        let (held_out, anchors): (Vec<_>, Vec<_>) = numbered.partition(|(at, _)| at % 5 == fold);
        let anchors: Vec<String> = anchors.into_iter().map(|(_, text)| text).collect();
        let alignment = Alignment::between(&ours, &theirs, &anchors).await.unwrap();
        let kept = 100.0 * alignment.kept.unwrap();
        println!(
            "{:?} on {} texts: of the ten nearest {:.3}, of what halves find {kept:.1} % (on {})",
            alignment.fit,
            anchors.len(),
            alignment.recall,
            alignment.measured_on,
        );
        assert!(alignment.recall > 0.5 && kept > 80.0);
        let (first, second): (Vec<_>, Vec<_>) =
            held_out.iter().map(|(_, text)| halves(text)).unzip();
        for (documents, queries) in [(&first, &second), (&second, &first)] {
            let queries = theirs.of(queries);
            let raw = ours.of(documents);
            let map = |vector: &Vec<f32>| alignment.map(ours.id(), vector).unwrap();
            again += found(&queries, &theirs.of(documents));
            aligned += found(&queries, &raw.iter().map(map).collect::<Vec<_>>());
            unaligned += found(&queries, &raw);
        }
    }
    let part = |count: usize| count as f64 / (2 * all.len()) as f64;
    println!(
        "the other half among ten of {}: embedded again {:.3}, aligned {:.3} ({:.1} %), unaligned {:.3}",
        all.len() / 5,
        part(again),
        part(aligned),
        100.0 * aligned as f64 / again as f64,
        part(unaligned),
    );
    assert!(aligned as f64 >= 0.95 * again as f64);
    assert!(unaligned * 5 < again, "the control");
}
