//! The bench, on a small file in LoCoMo's format that says nothing that anybody ever said.

use gpak_memory::bench::{self, BenchError};

const FILE: &str = r#"[{
    "sample_id": "synthetic",
    "conversation": {
        "speaker_a": "Ann", "speaker_b": "Bob",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "I adopted a parrot yesterday."},
            {"speaker": "Bob", "dia_id": "D1:2", "text": "Mine sings opera.", "blip_caption": "a green bird"}
        ],
        "session_2_date_time": "9:00 am on 2 June, 2023",
        "session_3_date_time": "10:15 am on 3 June, 2023",
        "session_3": [
            {"speaker": "Bob", "dia_id": "D3:1", "text": "My violin broke."},
            {"speaker": "Ann", "dia_id": "D3:2", "text": ""}
        ]
    },
    "qa": [
        {"question": "Which animal did Ann adopt?", "evidence": ["D1:1"], "category": 4},
        {"question": "What of Bob's broke, and what sings?", "evidence": ["D3:1; D1:2"], "category": 1},
        {"question": "Where is the zeppelin?", "evidence": ["D9:9"], "category": 5},
        {"question": "Nobody knows?", "evidence": [], "category": 3}
    ]
}]"#;

#[tokio::test]
async fn it_counts_the_evidence_among_the_hits() {
    let dir = tempfile::tempdir().unwrap();
    let conversations = bench::read(FILE).unwrap();
    let report = bench::run(dir.path(), &conversations).await.unwrap();
    assert_eq!(report.episodes, 4);
    let of = |way: &str, group: &str| {
        let found = report
            .figures
            .iter()
            .find(|f| f.way == way && f.group == group);
        found
            .unwrap_or_else(|| panic!("no figures of {way}, {group}"))
            .clone()
    };
    for way in ["words", "hybrid", "full"] {
        let ordinary = of(way, "1-4");
        assert_eq!(
            (ordinary.questions, ordinary.recall_10, ordinary.mrr),
            (2, 1.0, 1.0),
            "{way}"
        );
    }
    let all = of("full", "all");
    assert_eq!(all.questions, 3, "one has no evidence");
    assert!(
        (all.recall_5 - 2.0 / 3.0).abs() < 1e-9,
        "evidence that is not there is not found"
    );
    assert_eq!(of("full", "category 5").mrr, 0.0);
    assert_eq!(of("full", "category 1").sessions_10, 1.0);
}

#[test]
fn what_is_in_another_format_is_refused() {
    for text in ["", "{}", "[1]", &FILE.replace("1:56 pm on", "noon of")] {
        assert!(
            matches!(bench::read(text), Err(BenchError::Format(_))),
            "{text:.30}"
        );
    }
}
