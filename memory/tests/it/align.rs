//! Two embedders of this machine in one space, on texts that people wrote: the documentation in gpak's own
//! source.

use std::{collections::BTreeSet, fs, path::Path};

use gpak_kernel::model::catalogue::testkit;
use gpak_memory::embed::{Alignment, Embedder, MiniLm, Pair, StaticEmbedder};

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

/// How often the document of a query is among the ten that are most like it.
fn recall(queries: &[Vec<f32>], documents: &[Vec<f32>]) -> f64 {
    let like = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let found = queries.iter().enumerate().filter(|(at, query)| {
        let own = like(query, &documents[*at]);
        let better = documents.iter().filter(|other| like(query, other) > own);
        better.count() < 10
    });
    found.count() as f64 / queries.len() as f64
}

#[tokio::test]
async fn vectors_of_the_built_in_embedder_are_found_in_the_space_of_minilm() {
    let minilm = MiniLm::open(&testkit::model("minilm").unwrap()).unwrap();
    let table = StaticEmbedder::load().unwrap();
    let all = paragraphs();
    assert!(all.len() > 1400, "{} paragraphs", all.len());
    let (held_out, anchors) = all.split_at(300);

    let (from, to) = (
        table.embed(anchors).await.unwrap(),
        minilm.embed(anchors).await.unwrap(),
    );
    let pairs: Vec<Pair> = from
        .into_iter()
        .zip(to)
        .map(|(from, to)| Pair { from, to })
        .collect();
    let alignment = Alignment::fit(table.id(), minilm.id(), &pairs).unwrap();

    let (documents, queries): (Vec<String>, Vec<String>) =
        held_out.iter().map(|text| halves(text)).unzip();
    let queries = minilm.embed(&queries).await.unwrap();
    let again = recall(&queries, &minilm.embed(&documents).await.unwrap());
    let raw = table.embed(&documents).await.unwrap();
    let map = |vector: &Vec<f32>| alignment.map(table.id(), vector).unwrap();
    let aligned = recall(&queries, &raw.iter().map(map).collect::<Vec<_>>());
    let unaligned = recall(&queries, &raw);
    println!(
        "{:?}: of the ten nearest {:.3} (on {}); the other half among ten of {}: embedded again {again:.3}, \
         aligned {aligned:.3} ({:.1} %), unaligned {unaligned:.3}",
        alignment.fit,
        alignment.recall,
        alignment.measured_on,
        held_out.len(),
        100.0 * aligned / again,
    );
    assert!(aligned >= 0.8 * again);
    assert!(unaligned < 0.2 * again, "the control");
}
