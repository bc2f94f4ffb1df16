#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use gpak_kernel::identity::SecretKey;
use proptest::prelude::*;

use super::{
    watch::{MOST_HAZARDS, News, Refusal, Watch},
    wire::{Envelope, HazardSaid, Presence, Said, What, hazards, presence, seal, telemetry},
};
use crate::{
    body::{hal::Stamp, telemetry::Telemetry},
    reflex::verdict::{HazardKind, Severity},
};

const NOW: Stamp = Stamp(1_000_000_000_000);
const UNIX: u64 = 1_800_000_000_000;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

fn hazard(x_m: f32, ttl_ms: u64) -> HazardSaid {
    HazardSaid {
        kind: HazardKind::Cliff,
        stop: true,
        x_m,
        y_m: 0.0,
        radius_m: 2.0,
        ttl_ms,
    }
}

fn said(epoch: u64, sequence: u64, what: What) -> Said {
    Said {
        epoch,
        sequence,
        at_ms: UNIX,
        what,
    }
}

fn warned(sequence: u64, x_m: f32, ttl_ms: u64) -> Vec<u8> {
    seal(
        &key(1),
        &said(5, sequence, What::Hazard(hazard(x_m, ttl_ms))),
    )
    .unwrap()
}

fn later(ms: u64) -> Stamp {
    Stamp(NOW.0 + ms * 1_000_000)
}

fn watch() -> Watch {
    Watch::new(
        key(8).public(),
        &[key(1).public(), key(2).public(), key(8).public()],
    )
}

const CLIFF: &str = "swarm/hazards/cliff";

#[test]
fn a_trusted_peers_hazard_holds_until_its_time_is_over() {
    let mut watch = watch();
    let news = watch.hear(CLIFF, &warned(1, 3.0, 500), NOW, UNIX);
    assert!(matches!(news, Ok(News::Hazard(_, true))), "{news:?}");
    assert_eq!(watch.hazards(later(499)).len(), 1);
    assert!(watch.hazards(later(500)).is_empty());
    let again = watch.hear(CLIFF, &warned(2, 3.0, 500), later(250), UNIX);
    assert!(matches!(again, Ok(News::Hazard(_, false))), "{again:?}");
    assert_eq!(watch.hazards(later(749)).len(), 1);
}

#[test]
fn nothing_a_peer_says_ends_a_hazard_sooner() {
    let mut watch = watch();
    watch.hear(CLIFF, &warned(1, 3.0, 5000), NOW, UNIX).unwrap();
    watch
        .hear(CLIFF, &warned(2, 3.0, 1), later(10), UNIX)
        .unwrap();
    assert_eq!(watch.hazards(later(4999)).len(), 1);
    let mut weaker = hazard(3.0, 1);
    weaker.stop = false;
    let weaker = seal(&key(1), &said(5, 3, What::Hazard(weaker))).unwrap();
    watch.hear(CLIFF, &weaker, later(20), UNIX).unwrap();
    assert!(watch.hazards(later(4999)).iter().any(|hazard| hazard.stop));
}

#[test]
fn strangers_forgers_and_replays_are_refused() {
    let mut watch = watch();
    let stranger = seal(&key(9), &said(5, 1, What::Hazard(hazard(0.0, 500)))).unwrap();
    assert_eq!(
        watch.hear(CLIFF, &stranger, NOW, UNIX),
        Err(Refusal::Stranger)
    );
    let good = warned(1, 3.0, 500);
    let mut forged: Envelope = serde_json::from_slice(&good).unwrap();
    forged.said = forged.said.replace("3.0", "4.0");
    let forged = serde_json::to_vec(&forged).unwrap();
    assert_eq!(watch.hear(CLIFF, &forged, NOW, UNIX), Err(Refusal::Forged));
    let mut other: Envelope = serde_json::from_slice(&good).unwrap();
    other.from = key(2).public();
    let other = serde_json::to_vec(&other).unwrap();
    assert_eq!(watch.hear(CLIFF, &other, NOW, UNIX), Err(Refusal::Forged));
    watch.hear(CLIFF, &good, NOW, UNIX).unwrap();
    assert_eq!(watch.hear(CLIFF, &good, NOW, UNIX), Err(Refusal::Replayed));
    let old_life = seal(&key(1), &said(4, 99, What::Hazard(hazard(0.0, 500)))).unwrap();
    assert_eq!(
        watch.hear(CLIFF, &old_life, NOW, UNIX),
        Err(Refusal::Replayed)
    );
    assert_eq!(
        watch.hear(CLIFF, &warned(2, 0.0, 9), NOW, UNIX + 31_000),
        Err(Refusal::OtherTime)
    );
    let fire = hazards(HazardKind::Fire);
    assert_eq!(
        watch.hear(&fire, &warned(2, 0.0, 9), NOW, UNIX),
        Err(Refusal::Subject)
    );
    assert_eq!(
        watch.hear(CLIFF, &vec![b'{'; 5000], NOW, UNIX),
        Err(Refusal::Unreadable)
    );
    assert_eq!(watch.hazards(NOW).len(), 1);
}

#[test]
fn a_flood_is_cut_off_and_another_peer_is_still_heard() {
    let mut watch = watch();
    let taken = (1..=1000)
        .filter(|n| watch.hear(CLIFF, &warned(*n, 3.0, 500), NOW, UNIX).is_ok())
        .count();
    assert_eq!(taken, 40);
    let other = seal(&key(2), &said(1, 1, What::Hazard(hazard(0.0, 500)))).unwrap();
    assert!(watch.hear(CLIFF, &other, NOW, UNIX).is_ok());
    assert!(
        watch
            .hear(CLIFF, &warned(2000, 3.0, 500), later(1000), UNIX)
            .is_ok()
    );
}

#[test]
fn a_forger_in_a_peers_name_does_not_silence_the_peer() {
    let mut watch = watch();
    let mut forged: Envelope = serde_json::from_slice(&warned(1, 3.0, 500)).unwrap();
    forged.said.push(' ');
    let forged = serde_json::to_vec(&forged).unwrap();
    for _ in 0..1000 {
        assert_eq!(watch.hear(CLIFF, &forged, NOW, UNIX), Err(Refusal::Forged));
    }
    assert!(watch.hear(CLIFF, &warned(1, 3.0, 500), NOW, UNIX).is_ok());
}

#[test]
fn a_peer_has_only_so_many_hazards_at_a_time() {
    let mut watch = watch();
    let full = MOST_HAZARDS as u64;
    for n in 1..=full {
        watch
            .hear(CLIFF, &warned(n, n as f32, 500), NOW, UNIX)
            .unwrap();
    }
    assert_eq!(
        watch.hear(CLIFF, &warned(99, 99.0, 500), NOW, UNIX),
        Err(Refusal::Full)
    );
    assert!(
        watch
            .hear(CLIFF, &warned(100, 99.0, 500), later(600), UNIX)
            .is_ok()
    );
}

#[test]
fn a_peer_that_lives_says_so_on_its_own_subject_only() {
    let mut watch = watch();
    let lives = Presence {
        name: "r1\u{7}".into(),
        pose: None,
        battery: Some(0.5),
        mode: "moves".into(),
    };
    let bytes = seal(&key(1), &said(1, 1, What::Presence(lives.clone()))).unwrap();
    assert_eq!(
        watch.hear(&presence(&key(2).public()), &bytes, NOW, UNIX),
        Err(Refusal::Subject)
    );
    watch
        .hear(&presence(&key(1).public()), &bytes, NOW, UNIX)
        .unwrap();
    let names: Vec<_> = watch
        .peers()
        .filter_map(|peer| peer.presence.clone())
        .collect();
    assert_eq!(names[0].name, "r1");
}

proptest! {
    #[test]
    fn no_bytes_but_a_trusted_peers_bring_a_hazard(
        bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..600, with in any::<u8>()
    ) {
        let mut watch = watch();
        prop_assert!(watch.hear(CLIFF, &bytes, NOW, UNIX).is_err());
        let mut good = warned(1, 3.0, 500);
        let at = at % good.len();
        prop_assume!(good[at] != with);
        good[at] = with;
        // One changed byte is noticed; hex digits may be written in either case.
        let same_digit = with.eq_ignore_ascii_case(&warned(1, 3.0, 500)[at]);
        prop_assert!(watch.hear(CLIFF, &good, NOW, UNIX).is_err() || same_digit);
    }

    #[test]
    fn numbers_that_cannot_be_bring_no_hazard(
        x in prop::num::f32::ANY, radius in prop::num::f32::ANY, ttl in any::<u64>()
    ) {
        let mut watch = watch();
        let odd = HazardSaid { x_m: x, radius_m: radius, ttl_ms: ttl, ..hazard(0.0, 1) };
        let bytes = seal(&key(1), &said(1, 1, What::Hazard(odd))).unwrap();
        let heard = watch.hear(CLIFF, &bytes, NOW, UNIX);
        let possible = x.is_finite() && radius.is_finite() && radius > 0.0 && ttl > 0;
        prop_assert_eq!(heard.is_ok(), possible);
        for hazard in watch.hazards(NOW) {
            prop_assert!(hazard.until <= later(30_000));
        }
    }
}

#[test]
fn what_a_node_says_itself_is_no_peers() {
    let mut watch = watch();
    let own = seal(&key(8), &said(5, 1, What::Hazard(hazard(3.0, 500)))).unwrap();
    let refused = watch.hear(CLIFF, &own, NOW, UNIX);
    assert_eq!(refused, Err(Refusal::Own));
    assert_eq!((watch.peers().count(), watch.strangers()), (2, 0));
    assert!(watch.hazards(NOW).is_empty());
}

#[test]
fn a_peer_says_how_its_body_is_on_its_own_subject_in_bounded_words() {
    let mut watch = watch();
    let mut measured = Telemetry {
        odometry: None,
        odometry_age_ms: None,
        imu: None,
        battery: Some(0.5),
        contact: None,
        nearest_m: Some(1.5),
        motors: Default::default(),
        severity: Severity::Stop,
        causes: vec!["cliff\u{7}".to_owned(); 100],
        latched: false,
        realtime: true,
        decisions: 7,
        missed: 0,
        reflexes_age_ms: Some(1),
    };
    let sealed = |sequence, telemetry: &Telemetry| {
        let what = What::Telemetry(Box::new(telemetry.clone()));
        seal(&key(1), &said(5, sequence, what)).unwrap()
    };
    let subject = telemetry(&key(1).public());
    let others = telemetry(&key(2).public());
    let refused = watch.hear(&others, &sealed(1, &measured), NOW, UNIX);
    assert_eq!(refused, Err(Refusal::Subject));
    let news = watch.hear(&subject, &sealed(2, &measured), NOW, UNIX);
    assert_eq!(news, Ok(News::Telemetry));
    let first = watch.peers().next().unwrap();
    let told = watch.peers().find_map(|peer| peer.telemetry.clone());
    let (at, told) = told.unwrap_or_else(|| panic!("{first:?}"));
    assert_eq!((at, told.causes.len()), (NOW, 32));
    assert_eq!(told.causes[0], "cliff");
    // What is longer than a message may be is not read at all.
    measured.causes = vec!["x".repeat(4000); 2];
    let long = watch.hear(&subject, &sealed(3, &measured), NOW, UNIX);
    assert_eq!(long, Err(Refusal::Unreadable));
}
