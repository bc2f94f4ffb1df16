use super::*;

fn with(change: impl FnOnce(&mut ReflexConfig)) -> Result<(), String> {
    let mut config = ReflexConfig::example();
    change(&mut config);
    config.check().map_err(|error| error.to_string())
}

#[test]
fn the_example_is_accepted_and_comes_back_as_it_was_written() {
    let text = format!(
        "name = \"left to others\"\n{}",
        ReflexConfig::example().to_robot().unwrap()
    );
    assert_eq!(
        ReflexConfig::from_robot(&text).unwrap(),
        ReflexConfig::example()
    );
}

#[test]
fn a_small_file_is_enough() {
    let text = "
        [reflex.body]
        front_m = 0.2
        back_m = 0.2
        half_width_m = 0.2
        forward_mps = 0.5
        backward_mps = 0.2
        turn_radps = 1.0
        braking_mps2 = 1.0
        lag_ms = 20
        [reflex.scan]
        period_ms = 100
        points = 360
        reach_m = 8.0
        [reflex.odometry]
        period_ms = 20
    ";
    let config = ReflexConfig::from_robot(text).unwrap();
    assert_eq!(config.imu, None);
    assert_eq!(config.zones, Zones::default());
}

#[test]
fn a_key_that_is_not_known_is_refused_by_name() {
    let text = ReflexConfig::example().to_robot().unwrap();
    let odd = text.replace("stop_m = ", "stpo_m = ");
    let error = ReflexConfig::from_robot(&odd).unwrap_err().to_string();
    assert!(error.contains("stpo_m"), "{error}");
    let missing = ReflexConfig::from_robot("").unwrap_err();
    assert!(matches!(missing, ConfigError::Missing));
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    for (key, error) in [
        ("tick_hz", with(|c| c.tick_hz = 0)),
        ("body.braking_mps2", with(|c| c.body.braking_mps2 = 0.0)),
        ("body.forward_mps", with(|c| c.body.forward_mps = f32::NAN)),
        ("body.forward_mps", with(|c| c.body.forward_mps = -1.0)),
        ("zones.slow_m", with(|c| c.zones.slow_m = 0.1)),
        ("scan.points", with(|c| c.scan.points = 0)),
        (
            "imu.stop_rad",
            with(|c| {
                if let Some(tilt) = &mut c.imu {
                    tilt.stop_rad = 0.1;
                }
            }),
        ),
        (
            "fence_m",
            with(|c| c.fence_m = vec![[0.0, 0.0], [1.0, 0.0]]),
        ),
        ("fence_m", with(|c| c.fence_m = vec![[0.0, f32::NAN]; 3])),
    ] {
        let error = error.expect_err(key);
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn a_body_that_cannot_stop_for_what_it_sees_is_refused_with_the_sum() {
    let fast = with(|c| {
        c.body.forward_mps = 5.0;
        c.body.braking_mps2 = 1.0;
    });
    let error = fast.unwrap_err();
    assert!(
        error.contains("needs") && error.contains("forward_mps"),
        "{error}"
    );
    assert!(
        with(|c| c.scan.period_ms = 4000).is_err(),
        "a scan every four seconds"
    );
    assert!(
        with(|c| c.scan.reach_m = 0.3).is_err(),
        "it sees as far as its bumper"
    );
}

#[test]
fn motors_that_would_stop_between_two_ticks_are_refused() {
    let error = with(|c| c.motor_ms = 9).unwrap_err();
    assert!(
        error.contains("motor_ms") && error.contains("tick_hz"),
        "{error}"
    );
    let error = with(|c| {
        c.tick_hz = 50;
        c.motor_ms = 40;
        c.parent_ms = 10;
    });
    assert!(error.unwrap_err().contains("parent_ms"));
}

#[test]
fn a_source_is_never_allowed_more_than_the_body() {
    let mut config = ReflexConfig::example();
    config.sources.manual.linear_mps = Some(9.0);
    config.sources.model.linear_mps = Some(0.1);
    let [model, mission, manual] = config.envelopes();
    assert_eq!(model.bounds.forward_mps, 0.1);
    assert_eq!(mission.bounds, config.bounds());
    assert_eq!(manual.bounds, config.bounds());
}
