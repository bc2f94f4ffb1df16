use async_trait::async_trait;
use fastrand::Rng;
use gpak_kernel::memory::MemoryError;

use super::*;

/// Vectors of texts about a few things: in clusters, as those of real texts are.
fn vectors(rng: &mut Rng, count: usize, width: usize) -> Vec<Vec<f32>> {
    let mut random = |scale: f32| -> Vec<f32> {
        let numbers = (0..width).map(|_| (rng.f32() + rng.f32() + rng.f32() - 1.5) * scale);
        numbers.collect()
    };
    let things: Vec<Vec<f32>> = (0..20).map(|_| random(1.0)).collect();
    (0..count)
        .map(|at| {
            let own = random(0.7);
            let thing = &things[at % things.len()];
            unit_of(own.iter().zip(thing).map(|(a, b)| a + b).collect())
        })
        .collect()
}

fn unit_of(vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.into_iter().map(|x| x / length).collect()
}

fn times(vector: &[f32], matrix: &[Vec<f32>], shift: f32) -> Vec<f32> {
    let width = matrix[0].len();
    (0..width)
        .map(|to| {
            let products = vector.iter().zip(matrix).map(|(x, row)| x * row[to]);
            products.sum::<f32>() + shift
        })
        .collect()
}

fn a_matrix(rng: &mut Rng, rows: usize, columns: usize) -> Vec<Vec<f32>> {
    let mut row = || (0..columns).map(|_| rng.f32() - 0.5).collect();
    (0..rows).map(|_| row()).collect()
}

/// A turn: reflections, one after the other.
fn turned(vector: &[f32], mirrors: &[Vec<f32>]) -> Vec<f32> {
    mirrors.iter().fold(vector.to_vec(), |vector, mirror| {
        let along: f32 = vector.iter().zip(mirror).map(|(a, b)| a * b).sum();
        let pairs = vector.iter().zip(mirror);
        pairs.map(|(a, b)| a - 2.0 * along * b).collect()
    })
}

fn pairs(from: Vec<Vec<f32>>, to: impl Fn(&[f32]) -> Vec<f32>) -> Vec<Pair> {
    let pair = |from: Vec<f32>| Pair {
        to: to(&from),
        from,
    };
    from.into_iter().map(pair).collect()
}

#[test]
fn a_space_that_is_only_turned_is_turned_back() {
    let mut rng = Rng::with_seed(1);
    let mirrors: Vec<_> = (0..7).map(|_| vectors(&mut rng, 1, 24).remove(0)).collect();
    let texts = vectors(&mut rng, 400, 24);
    let pairs = pairs(texts, |vector| turned(vector, &mirrors));
    let alignment = Alignment::fit("a", "b", &pairs).unwrap();
    assert_eq!(alignment.fit, Fit::Procrustes, "of equals the simpler one");
    assert!(alignment.recall > 0.999, "{}", alignment.recall);
    assert_eq!(alignment.measured_on, 80);
    let new = vectors(&mut rng, 1, 24).remove(0);
    let (mapped, meant) = (alignment.map("a", &new).unwrap(), turned(&new, &mirrors));
    for (a, b) in mapped.iter().zip(&meant) {
        assert!((a - b).abs() < 1e-3, "{mapped:?} is not {meant:?}");
    }
}

#[test]
fn a_space_that_is_bent_and_of_another_dimension_takes_more_than_a_turn() {
    let mut rng = Rng::with_seed(2);
    let matrix = a_matrix(&mut rng, 24, 40);
    let texts = vectors(&mut rng, 600, 24);
    let pairs = pairs(texts, |vector| unit_of(times(vector, &matrix, 0.2)));
    let alignment = Alignment::fit("a", "b", &pairs).unwrap();
    assert!(
        matches!(alignment.fit, Fit::Ridge { .. }),
        "{:?}",
        alignment.fit
    );
    assert!(alignment.recall > 0.9, "{}", alignment.recall);
    assert_eq!(alignment.map("a", &pairs[0].from).unwrap().len(), 40);
}

#[test]
fn spaces_that_have_nothing_to_do_with_each_other_get_a_figure_that_says_so() {
    let mut rng = Rng::with_seed(3);
    let (from, to) = (vectors(&mut rng, 400, 16), vectors(&mut rng, 400, 16));
    let mut to = to.into_iter();
    rng.shuffle(to.as_mut_slice());
    let pairs: Vec<Pair> = from
        .into_iter()
        .zip(to)
        .map(|(from, to)| Pair { from, to })
        .collect();
    let alignment = Alignment::fit("a", "b", &pairs).unwrap();
    // By chance, ten of 79.
    assert!(alignment.recall < 0.25, "{}", alignment.recall);
}

#[test]
fn vectors_of_another_embedder_are_not_mapped() {
    let mut rng = Rng::with_seed(4);
    let pairs = pairs(vectors(&mut rng, 100, 8), <[f32]>::to_vec);
    let alignment = Alignment::fit("a", "b", &pairs).unwrap();
    let vector = &pairs[0].from;
    assert!(alignment.map("a", vector).is_ok());
    assert_eq!(alignment.map("a", &[0.0; 8]).unwrap(), [0.0; 8]);
    for (embedder, vector) in [("b", vector.as_slice()), ("a", &vector[..7])] {
        let refused = alignment.map(embedder, vector);
        assert!(
            matches!(refused, Err(AlignError::Foreign { .. })),
            "{refused:?}"
        );
    }
    let json = serde_json::to_string(&alignment).unwrap();
    let again: Alignment = serde_json::from_str(&json).unwrap();
    assert_eq!(again, alignment);
}

#[test]
fn what_cannot_be_aligned_is_said() {
    let mut rng = Rng::with_seed(5);
    let good = pairs(vectors(&mut rng, 120, 8), <[f32]>::to_vec);
    assert_eq!(
        Alignment::fit("a", "b", &good[..99]),
        Err(AlignError::TooFew(99))
    );
    let mut uneven = good.clone();
    uneven[7].from.pop();
    assert_eq!(Alignment::fit("a", "b", &uneven), Err(AlignError::Uneven));
    let mut none = good.clone();
    none[9].to[0] = f32::NAN;
    assert_eq!(Alignment::fit("a", "b", &none), Err(AlignError::Uneven));
    let flat: Vec<Pair> = good
        .iter()
        .map(|pair| Pair {
            from: vec![0.0; 8],
            to: pair.to.clone(),
        })
        .collect();
    // All texts look the same: there is nothing to find, and nothing breaks.
    if let Ok(alignment) = Alignment::fit("a", "b", &flat) {
        assert!(alignment.recall < 0.7, "{}", alignment.recall);
    }
}

/// Sums of the words' directions: texts that share words are alike.
struct Sums {
    id: &'static str,
    /// Whether it says the same in a space that is turned, and a half of something of its own.
    is_other: bool,
}

const WIDTH: usize = 24;

impl Sums {
    fn of_word(&self, word: &str) -> Vec<f32> {
        let number = u64::from_str_radix(word, 16).unwrap();
        let direction = |seed: u64| vectors(&mut Rng::with_seed(seed), 1, WIDTH).remove(0);
        let said = direction((1 << 32) | number);
        if !self.is_other {
            return said;
        }
        let mut rng = Rng::with_seed(8);
        let mirrors: Vec<_> = (0..7)
            .map(|_| vectors(&mut rng, 1, WIDTH).remove(0))
            .collect();
        let own = direction((1 << 40) | number);
        let said = turned(&said, &mirrors);
        unit_of(said.iter().zip(&own).map(|(a, b)| a + b / 2.0).collect())
    }
}

#[async_trait]
impl Embedder for Sums {
    fn id(&self) -> &str {
        self.id
    }

    fn dimension(&self) -> usize {
        WIDTH
    }

    fn licence(&self) -> &str {
        "MIT"
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
        let of_text = |text: &String| {
            let words: Vec<_> = text.split(' ').map(|word| self.of_word(word)).collect();
            let sum = |at: usize| words.iter().map(|word| word[at]).sum();
            unit_of((0..WIDTH).map(sum).collect())
        };
        Ok(texts.iter().map(of_text).collect())
    }
}

const OURS: Sums = Sums {
    id: "ours",
    is_other: false,
};
const THEIRS: Sums = Sums {
    id: "theirs",
    is_other: true,
};

/// Texts of eight words, about one of many things each: a half says what the other one does with half the words.
fn texts(count: u32) -> Vec<String> {
    let mut rng = Rng::with_seed(6);
    let text = |at: u32| {
        let thing = at % 40;
        let words = (0..8).map(|_| format!("{:x}", thing * 4 + rng.u32(0..4)));
        words.collect::<Vec<_>>().join(" ")
    };
    (0..count).map(text).collect()
}

#[tokio::test]
async fn halves_teach_what_stands_beside_them_and_what_that_is_worth_is_measured() {
    let texts = texts(600);
    let both = Alignment::between(&OURS, &THEIRS, &texts).await.unwrap();
    assert_eq!((both.from.as_str(), both.to.as_str()), ("ours", "theirs"));
    assert_eq!(both.measured_on, 120);
    let kept = both.kept.unwrap();
    assert!(kept > 0.8, "{kept}");
    // The same without the halves.
    let from = OURS.embed(&texts).await.unwrap().into_iter();
    let pairs = from.zip(THEIRS.embed(&texts).await.unwrap());
    let pairs: Vec<Pair> = pairs.map(|(from, to)| Pair { from, to }).collect();
    let wholes = Alignment::fit("ours", "theirs", &pairs).unwrap();
    assert_eq!(wholes.kept, None, "no half was read");
    assert_ne!(wholes.rows, both.rows);
}

#[tokio::test]
async fn a_space_that_says_nothing_of_the_other_keeps_little() {
    let texts = texts(600);
    let mut others = texts.clone();
    Rng::with_seed(7).shuffle(&mut others);
    let meant: std::collections::BTreeMap<_, _> = texts.iter().cloned().zip(others).collect();
    struct Beside(std::collections::BTreeMap<String, String>);
    #[async_trait]
    impl Embedder for Beside {
        fn id(&self) -> &str {
            "beside"
        }
        fn dimension(&self) -> usize {
            WIDTH
        }
        fn licence(&self) -> &str {
            OURS.licence()
        }
        async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
            // Halves, which it does not know, say the same of everything.
            let other = |text: &String| self.0.get(text).map_or("1", String::as_str).to_owned();
            OURS.embed(&texts.iter().map(other).collect::<Vec<_>>())
                .await
        }
    }
    let alignment = Alignment::between(&Beside(meant), &THEIRS, &texts).await;
    let kept = alignment.unwrap().kept.unwrap();
    assert!(kept < 0.3, "{kept}");
}

#[tokio::test]
async fn what_an_embedder_says_against_a_text_is_passed_on_and_short_texts_are_not_halved() {
    struct Down;
    #[async_trait]
    impl Embedder for Down {
        fn id(&self) -> &str {
            "down"
        }
        fn dimension(&self) -> usize {
            1
        }
        fn licence(&self) -> &str {
            "MIT"
        }
        async fn embed(&self, _: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
            Err(MemoryError::Embedder("start the server".to_owned()))
        }
    }
    let why = Alignment::between(&Down, &OURS, &texts(100)).await;
    assert_eq!(why, Err(AlignError::Embedder("start the server".into())));
    assert_eq!(halved("a b c"), None);
    assert_eq!(halved("a b c d e"), Some(["a b".into(), "c d e".into()]));
}
