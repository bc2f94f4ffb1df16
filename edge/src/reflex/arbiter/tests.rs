use proptest::prelude::*;

use super::*;
use crate::reflex::{
    command::Command,
    shm::cell::Cell,
    verdict::{Bounds, Cause},
};

const SECOND: u64 = 1_000_000_000;

fn session() -> SessionKey {
    SessionKey::from_bytes([7; 32])
}

fn bounds(forward_mps: f32, backward_mps: f32, turn_radps: f32) -> Bounds {
    Bounds {
        forward_mps,
        backward_mps,
        turn_radps,
    }
}

fn arbiter() -> Arbiter {
    Arbiter::new(&session(), may())
}

fn heard(signed: Signed) -> Option<Heard> {
    let authentic = session().of(signed.command.source).signed(&signed);
    Some(Heard { signed, authentic })
}

fn decide_all(arbiter: &mut Arbiter, input: &Input) -> (Approved, Record) {
    let slots = input.slots.map(|heard| heard.map(|heard| heard.signed));
    arbiter.decide(input.at, input.epoch, input.latched, input.verdict, slots)
}

fn may() -> [Envelope; 3] {
    let envelope = |fast: f32| Envelope {
        bounds: bounds(fast, fast / 2.0, 1.0),
        valid_for: Duration::from_millis(500),
    };
    [envelope(0.5), envelope(1.0), envelope(1.5)]
}

fn free() -> Verdict {
    Verdict {
        hard: bounds(2.0, 1.0, 2.0),
        soft: bounds(2.0, 1.0, 2.0),
        severity: Severity::Clear,
        hard_causes: Causes::NONE,
        soft_causes: Causes::NONE,
    }
}

fn command(source: Source, sequence: u64, linear_mps: f32) -> Command {
    Command {
        source,
        sequence,
        epoch: 3,
        at: Stamp(10 * SECOND),
        valid_for: Duration::from_millis(200),
        twist: Twist {
            linear_mps,
            angular_radps: 0.1,
        },
    }
}

fn signed(command: Command) -> Signed {
    session().of(command.source).sign(command)
}

fn input(commands: &[Command]) -> Input {
    let mut slots = [None; 3];
    for command in commands {
        slots[command.source.index()] = heard(signed(*command));
    }
    Input {
        at: Stamp(10 * SECOND + 50_000_000),
        epoch: 3,
        latched: false,
        verdict: free(),
        slots,
    }
}

fn decide(input: &Input) -> Decision {
    decide_all(&mut arbiter(), input).1.decision
}

#[test]
fn a_person_outranks_the_mission_and_the_mission_outranks_the_model() {
    let model = command(Source::Model, 1, 0.3);
    let mission = command(Source::Mission, 1, 0.6);
    let manual = command(Source::Manual, 1, -0.2);
    let all = decide(&input(&[model, mission, manual]));
    assert_eq!(
        (all.authority, all.twist),
        (Authority::Manual, manual.twist)
    );
    let two = decide(&input(&[model, mission]));
    assert_eq!(
        (two.authority, two.twist),
        (Authority::Mission, mission.twist)
    );
    let one = decide(&input(&[model]));
    assert_eq!((one.authority, one.twist), (Authority::Model, model.twist));
    let none = decide(&input(&[]));
    assert_eq!(
        (none.authority, none.twist),
        (Authority::Nobody, Twist::default())
    );
}

#[test]
fn a_soft_reflex_holds_the_mission_back_and_not_the_person() {
    let mut held = input(&[command(Source::Mission, 1, 0.8)]);
    held.verdict.soft = bounds(0.2, 0.2, 2.0);
    let decision = decide(&held);
    assert_eq!(decision.authority, Authority::SoftReflex);
    assert!((decision.twist.linear_mps - 0.2).abs() < 1e-6);
    // On the same curve.
    assert!((decision.twist.angular_radps - 0.025).abs() < 1e-6);

    let manual = command(Source::Manual, 1, 0.8);
    let mut person = input(&[manual]);
    person.verdict.soft = bounds(0.2, 0.2, 2.0);
    assert_eq!(decide(&person).twist, manual.twist);
    person.verdict.hard = Bounds::STOP;
    let decision = decide(&person);
    assert_eq!(
        (decision.authority, decision.twist),
        (Authority::HardReflex, Twist::default())
    );
}

#[test]
fn nobody_outranks_the_e_stop() {
    let mut latched = input(&[command(Source::Manual, 1, 0.1)]);
    latched.latched = true;
    let decision = decide(&latched);
    assert_eq!(
        (decision.authority, decision.twist),
        (Authority::EStop, Twist::default())
    );
    assert_eq!(decision.severity, Severity::Latch);
}

/// What makes a good command bad, and the refusal that says so.
fn spoilt() -> Vec<(Signed, Refusal)> {
    let good = command(Source::Mission, 5, 0.5);
    let with = |change: &dyn Fn(&mut Command)| {
        let mut command = good;
        change(&mut command);
        signed(command)
    };
    let mut forged = signed(good);
    forged.command.twist.linear_mps = 0.9;
    let other_key = SessionKey::from_bytes([8; 32]);
    vec![
        (forged, Refusal::Unsigned),
        (other_key.of(Source::Mission).sign(good), Refusal::Unsigned),
        (session().of(Source::Model).sign(good), Refusal::Unsigned),
        (
            signed(command(Source::Manual, 5, 0.5)),
            Refusal::WrongSource,
        ),
        (with(&|c| c.twist.linear_mps = f32::NAN), Refusal::NotFinite),
        (
            with(&|c| c.twist.angular_radps = f32::NEG_INFINITY),
            Refusal::NotFinite,
        ),
        (with(&|c| c.epoch = 2), Refusal::OtherEpoch),
        (with(&|c| c.at = Stamp(11 * SECOND)), Refusal::FromTheFuture),
        (with(&|c| c.at = Stamp(9 * SECOND)), Refusal::Stale),
        (
            with(&|c| c.valid_for = Duration::from_secs(1)),
            Refusal::TooLong,
        ),
        (with(&|c| c.valid_for = Duration::MAX), Refusal::TooLong),
        (with(&|c| c.twist.linear_mps = 1.01), Refusal::TooFast),
        (with(&|c| c.twist.linear_mps = -0.51), Refusal::TooFast),
        (with(&|c| c.twist.angular_radps = 1.01), Refusal::TooFast),
    ]
}

#[test]
fn a_bad_command_moves_nothing_and_says_what_is_wrong() {
    for (bad, why) in spoilt() {
        let mut one = input(&[]);
        one.slots[Source::Mission.index()] = heard(bad);
        let decision = decide(&one);
        assert_eq!(
            decision.refused[Source::Mission.index()],
            Some(why),
            "{bad:?}"
        );
        assert_eq!(decision.twist, Twist::default());
        assert_eq!(decision.authority, Authority::Nobody);
    }
}

#[test]
fn a_bad_command_leaves_the_word_to_the_next() {
    for (bad, _) in spoilt() {
        let model = command(Source::Model, 1, 0.3);
        let mut two = input(&[model]);
        two.slots[Source::Mission.index()] = heard(bad);
        assert_eq!(decide(&two).twist, model.twist);
    }
}

#[test]
fn a_command_stands_until_its_time_and_not_a_nanosecond_longer() {
    let wish = command(Source::Mission, 1, 0.5);
    let mut arbiter = arbiter();
    let mut at = |nanos: u64| {
        let mut one = input(&[wish]);
        one.at = Stamp(wish.at.0 + nanos);
        decide_all(&mut arbiter, &one).1.decision
    };
    assert_eq!(at(0).twist, wish.twist);
    assert_eq!(at(200_000_000).twist, wish.twist);
    let late = at(200_000_001);
    assert_eq!(late.twist, Twist::default());
    assert_eq!(late.refused[Source::Mission.index()], Some(Refusal::Stale));
}

#[test]
fn a_sequence_is_used_once() {
    let mut arbiter = arbiter();
    let first = command(Source::Mission, 7, 0.5);
    assert_eq!(
        decide_all(&mut arbiter, &input(&[first])).1.decision.twist,
        first.twist
    );
    // The same, still in its slot, still stands.
    assert_eq!(
        decide_all(&mut arbiter, &input(&[first])).1.decision.twist,
        first.twist
    );
    let again = |sequence, linear| command(Source::Mission, sequence, linear);
    for replayed in [again(7, 0.4), again(6, 0.5), again(0, 0.1)] {
        let decision = decide_all(&mut arbiter, &input(&[replayed])).1.decision;
        assert_eq!(
            decision.refused[Source::Mission.index()],
            Some(Refusal::Replayed)
        );
        assert_eq!(decision.twist, Twist::default());
    }
    assert_eq!(
        decide_all(&mut arbiter, &input(&[again(8, 0.4)]))
            .1
            .decision
            .twist
            .linear_mps,
        0.4
    );
}

#[test]
fn a_known_mark_on_other_bytes_is_no_mark() {
    let mut arbiter = arbiter();
    let good = command(Source::Mission, 7, 0.5);
    decide_all(&mut arbiter, &input(&[good]));
    let mut changed = input(&[good]);
    if let Some(heard) = &mut changed.slots[Source::Mission.index()] {
        heard.signed.command.twist.linear_mps = 0.9;
    }
    let decision = decide_all(&mut arbiter, &changed).1.decision;
    assert_eq!(
        decision.refused[Source::Mission.index()],
        Some(Refusal::Unsigned)
    );
    assert_eq!(decision.twist, Twist::default());
}

#[test]
fn what_was_wished_before_a_new_epoch_counts_no_longer() {
    let mut arbiter = arbiter();
    let wish = command(Source::Mission, 7, 0.5);
    decide_all(&mut arbiter, &input(&[wish]));
    let mut next = input(&[wish]);
    next.epoch = 4;
    let decision = decide_all(&mut arbiter, &next).1.decision;
    assert_eq!(
        decision.refused[Source::Mission.index()],
        Some(Refusal::OtherEpoch)
    );
    assert_eq!(decision.twist, Twist::default());
}

#[test]
fn a_log_is_replayed_hash_for_hash_and_any_change_is_found() {
    let records = a_log();
    let last = records[records.len() - 1];
    let same = Replayed::Same {
        decisions: records.len() as u64,
        hash: last.hash,
    };
    assert_eq!(replay(&may(), records.clone()), same);
    for index in 0..records.len() {
        let mut changed = records.clone();
        changed[index].input.verdict.hard.forward_mps -= 0.001;
        assert_ne!(replay(&may(), changed), same, "an input of another day");
        let mut left_out = records.clone();
        left_out.remove(index);
        assert_ne!(replay(&may(), left_out), same, "one decision less");
    }
    assert_ne!(replay(&may(), records.into_iter().rev()), same);
}

#[test]
fn a_record_is_the_same_after_it_was_written_and_read() {
    for record in a_log() {
        let read = Record::from_bytes(&record.to_bytes()).unwrap();
        assert_eq!(read.to_bytes(), record.to_bytes());
        assert_eq!(read.hash, record.hash);
    }
    let mut odd = a_log()[0].to_bytes();
    // A source that there is not.
    let place = (1 + 2 + Verdict::WORDS + (1 + Signed::WORDS) + 1) * 8;
    odd[place] = 9;
    assert!(Record::from_bytes(&odd).is_none());
}

fn a_log() -> Vec<Record> {
    let mut arbiter = arbiter();
    (1..20_u64)
        .map(|number| {
            let source = Source::ALL[number as usize % 3];
            let speed = match number % 5 {
                0 => f32::NAN,
                rest => rest as f32 / 4.0,
            };
            let mut input = input(&[command(source, number, speed)]);
            input.at.0 += number * 20_000_000;
            input.latched = number == 11;
            decide_all(&mut arbiter, &input).1
        })
        .collect()
}

fn any_speed() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -3.0_f32..3.0,
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE, f32::MAX]),
    ]
}

prop_compose! {
    fn any_bounds()(forward in 0.0_f32..2.0, backward in 0.0_f32..1.0, turn in 0.0_f32..2.0) -> Bounds {
        bounds(forward, backward, turn)
    }
}

prop_compose! {
    fn any_command()(
        source in prop::sample::select(Source::ALL.to_vec()),
        sequence in 0_u64..6,
        epoch in 2_u32..5,
        at in 9_700_u64..10_100,
        valid in 0_u64..700,
        linear_mps in any_speed(),
        angular_radps in any_speed(),
    ) -> Command {
        Command {
            source, sequence, epoch,
            at: Stamp(at * 1_000_000),
            valid_for: Duration::from_millis(valid),
            twist: Twist { linear_mps, angular_radps },
        }
    }
}

prop_compose! {
    fn any_input()(
        commands in prop::collection::vec((any_command(), prop::bool::weighted(0.9)), 0..4),
        hard in any_bounds(), soft in any_bounds(),
        latched in prop::bool::weighted(0.1),
        at in 9_900_u64..10_300,
    ) -> Input {
        let mut input = input(&[]);
        for (command, honest) in commands {
            let mut signed = signed(command);
            if !honest { signed.tag[5] ^= 1; }
            input.slots[command.source.index()] = heard(signed);
        }
        input.verdict.hard = hard;
        input.verdict.soft = soft;
        input.verdict.hard_causes = Causes::NONE.with(Cause::Collision);
        input.latched = latched;
        input.at = Stamp(at * 1_000_000);
        input
    }
}

/// What must be true of any decision, whatever it was made of.
fn sound(input: &Input, decision: &Decision) {
    let twist = decision.twist;
    assert!(twist.linear_mps.is_finite() && twist.angular_radps.is_finite());
    assert!(
        input.verdict.hard.allow(twist),
        "faster than a hard reflex allows: {decision:?}"
    );
    let still = twist == Twist::default();
    if input.latched {
        assert!(still, "moved in spite of the e-stop");
    }
    let Some(source) = decision.source else {
        assert!(still, "moved at nobody's wish");
        return;
    };
    if source != Source::Manual {
        assert!(
            input.verdict.soft.allow(twist),
            "faster than a soft reflex allows: {decision:?}"
        );
    }
    let heard = input.slots[source.index()].expect("it moved at the wish of an empty slot");
    let signed = heard.signed;
    let command = signed.command;
    assert!(
        session().of(source).signed(&signed),
        "moved at a forged wish"
    );
    assert_eq!(command.epoch, input.epoch);
    assert!(
        command.at <= input.at && input.at <= command.until(),
        "moved at a stale wish"
    );
    assert!(command.valid_for <= Duration::from_millis(500));
    assert!(
        may()[source.index()].bounds.allow(command.twist),
        "moved at a wish out of its envelope"
    );
    // Never faster than wished, and never the other way.
    assert!(twist.linear_mps.abs() <= command.twist.linear_mps.abs());
    assert!(twist.angular_radps.abs() <= command.twist.angular_radps.abs());
    assert!(twist.linear_mps * command.twist.linear_mps >= 0.0);
    let stronger = Source::ALL.iter().filter(|other| **other > source);
    for other in stronger {
        let refused = decision.refused[other.index()].is_some();
        assert!(
            refused || input.slots[other.index()].is_none(),
            "passed over {other:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_decision_is_sound(inputs in prop::collection::vec(any_input(), 1..8)) {
        let mut arbiter = arbiter();
        let mut records = Vec::new();
        for input in inputs {
            let (approved, record) = decide_all(&mut arbiter, &input);
            sound(&input, &record.decision);
            prop_assert_eq!(approved.twist(), record.decision.twist);
            records.push(record);
        }
        let replayed = replay(&may(), records.clone());
        let same = matches!(replayed, Replayed::Same { hash, .. } if Some(hash) == records.last().map(|r| r.hash));
        prop_assert!(same);
    }

    #[test]
    fn nothing_goes_on_when_its_sender_is_gone(input in any_input(), later in 501_u64..10_000) {
        let mut arbiter = arbiter();
        decide_all(&mut arbiter, &input);
        // Nobody writes any more: what is in the slots stays there.
        let mut silent = input;
        silent.at = Stamp(input.at.0.max(10_100_000_000) + later * 1_000_000);
        let (approved, _) = decide_all(&mut arbiter, &silent);
        prop_assert_eq!(approved.twist(), Twist::default());
    }

    #[test]
    fn stricter_bounds_never_make_it_faster(input in any_input(), stricter in any_bounds()) {
        let free = decide(&input);
        let mut bound = input;
        bound.verdict.hard = bound.verdict.hard.and(stricter);
        let held = decide(&bound);
        prop_assert!(held.twist.linear_mps.abs() <= free.twist.linear_mps.abs() + 1e-6);
        prop_assert!(bound.verdict.hard.allow(held.twist));
    }

    #[test]
    fn what_is_not_a_bound_allows_nothing(linear in any_speed(), angular in any_speed()) {
        let twist = Twist { linear_mps: linear, angular_radps: angular };
        let odd = bounds(f32::NAN, f32::NAN, f32::NAN);
        prop_assert_eq!(odd.limit(twist), Twist::default());
        prop_assert_eq!(odd.and(bounds(1.0, 1.0, 1.0)), Bounds::STOP);
        let limited = bounds(1.0, 0.5, 0.7).limit(twist);
        prop_assert!(bounds(1.0, 0.5, 0.7).allow(limited));
    }
}

/// So many commands, all of them bad in one way or several, beside none that is good.
fn fuzz(count: u64) -> [u64; Refusal::ALL.len()] {
    let mut random = fastrand::Rng::with_seed(1);
    let mut arbiter = arbiter();
    let mut refused = [0; Refusal::ALL.len()];
    let mut sequence = 10;
    // What was used up: to be replayed.
    decide_all(&mut arbiter, &input(&[command(Source::Mission, 9, 0.5)]));
    for _ in 0..count {
        sequence += 1;
        let mut wish = command(Source::Mission, sequence, random.f32());
        let mut honest = true;
        let mut slot = Source::Mission;
        let kinds = 1 + u32::from(random.bool());
        for _ in 0..kinds {
            match random.u8(0..10) {
                0 => wish.twist.linear_mps = f32::NAN,
                1 => wish.twist.angular_radps = f32::INFINITY,
                2 => wish.twist.linear_mps = f32::NEG_INFINITY,
                3 => wish.sequence = random.u64(0..=8),
                4 => wish.at = Stamp(random.u64(0..9 * SECOND)),
                5 => wish.at = Stamp(random.u64(10 * SECOND + 50_000_001..=u64::MAX)),
                6 => wish.valid_for = Duration::from_nanos(random.u64(500_000_001..=u64::MAX)),
                7 => wish.twist.linear_mps = 1.000_1 + random.f32() * 1e9,
                8 => wish.epoch = random.u32(4..),
                _ if random.bool() => honest = false,
                _ => slot = Source::Model,
            }
        }
        let mut signed = signed(wish);
        if !honest {
            signed.tag[random.usize(0..32)] ^= 1 << random.u8(0..8);
        }
        let mut input = input(&[]);
        input.slots[slot.index()] = heard(signed);
        let (approved, record) = decide_all(&mut arbiter, &input);
        assert_eq!(approved.twist(), Twist::default(), "actuated: {signed:?}");
        let why = record.decision.refused[slot.index()].expect("it was not refused");
        refused[Refusal::ALL.iter().position(|one| *one == why).unwrap()] += 1;
    }
    refused
}

#[test]
fn of_two_hundred_thousand_bad_commands_none_is_actuated() {
    let refused = fuzz(200_000);
    assert!(
        refused.iter().all(|count| *count > 0),
        "a kind was never tried: {refused:?}"
    );
}

/// `cargo nextest run --workspace --run-ignored only -E 'test(of_ten_million_bad_commands)' --no-capture`
#[test]
#[ignore = "takes about a minute"]
fn of_ten_million_bad_commands_none_is_actuated() {
    let refused = fuzz(10_000_000);
    for (why, count) in Refusal::ALL.iter().zip(refused) {
        println!("{count:>9} {}", why.name());
    }
    assert_eq!(refused.iter().sum::<u64>(), 10_000_000);
}
