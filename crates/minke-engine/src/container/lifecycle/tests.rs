use super::super::health::Status;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn exit(code: i32) -> Exit {
    Exit { code, finished_at: at(20), oom_killed: false, error: String::new() }
}

fn run(generation: u64) -> Run {
    Run { generation, pid: 42, started_at: at(19) }
}

fn after(policy: RestartPolicy, events: &[Event]) -> (Lifecycle, Vec<Effect>) {
    let mut lifecycle = Lifecycle::new(policy, false);
    let mut last = Vec::new();
    for event in events {
        (lifecycle, last) = lifecycle.step(event.clone()).unwrap();
    }
    (lifecycle, last)
}

#[test]
fn a_container_without_policy_stays_exited() {
    let (end, effects) =
        after(RestartPolicy::No, &[Event::Start, Event::StartSucceeded(run(1)), Event::Exited(exit(3))]);
    assert_eq!(end.state, State::Exited(exit(3)));
    assert_eq!(effects, [Effect::Teardown(1), Effect::Persist]);
}

#[test]
fn always_restarts_with_doubling_delays() {
    let mut lifecycle = after(RestartPolicy::Always, &[Event::Start]).0;
    let mut delays = Vec::new();
    for generation in 1..=12 {
        lifecycle = lifecycle.step(Event::StartSucceeded(run(generation))).unwrap().0;
        let (next, effects) = lifecycle.step(Event::Exited(exit(0))).unwrap();
        let Some(Effect::ArmBackoff(delay)) = effects.last() else { panic!("no restart: {effects:?}") };
        delays.push(delay.as_millis());
        lifecycle = next.step(Event::BackoffElapsed).unwrap().0;
    }
    assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
    assert_eq!(lifecycle.restart_count, 12);
}

#[test]
fn on_failure_gives_up_after_its_count() {
    let policy = RestartPolicy::OnFailure { maximum_retries: 1 };
    let (end, _) = after(
        policy,
        &[
            Event::Start,
            Event::StartSucceeded(run(1)),
            Event::Exited(exit(1)),
            Event::BackoffElapsed,
            Event::StartSucceeded(run(2)),
            Event::Exited(exit(1)),
        ],
    );
    assert_eq!(end.state, State::Exited(exit(1)));
    assert_eq!(end.restart_count, 1);
}

#[test]
fn a_stopped_container_is_not_restarted_but_always_returns_with_the_engine() {
    for (policy, returns) in [(RestartPolicy::Always, true), (RestartPolicy::UnlessStopped, false)] {
        let (end, _) = after(
            policy,
            &[Event::Start, Event::StartSucceeded(run(1)), Event::StopRequested, Event::Exited(exit(143))],
        );
        assert_eq!(end.state, State::Exited(exit(143)));
        let (_, effects) = end.step(Event::EngineStarted).unwrap();
        assert_eq!(effects.contains(&Effect::Launch), returns, "{policy:?}");
    }
}

#[test]
fn forced_removal_kills_first() {
    let (running, _) = after(RestartPolicy::Always, &[Event::Start, Event::StartSucceeded(run(1))]);
    assert_eq!(running.step(Event::Remove { force: false }), Err(Refusal::Running));
    let (dying, effects) = running.step(Event::Remove { force: true }).unwrap();
    assert_eq!(effects, [Effect::Kill]);
    let (_, effects) = dying.step(Event::Exited(exit(137))).unwrap();
    assert_eq!(effects, [Effect::Teardown(1), Effect::Remove]);
}

/// Every sequence of up to six events: a launch is only asked for when nothing runs, and nothing is torn down twice.
#[test]
fn no_sequence_of_events_starts_two_runs() {
    let events = [
        Event::Start,
        Event::StartSucceeded(run(1)),
        Event::StartFailed(exit(127)),
        Event::StopRequested,
        Event::RestartRequested,
        Event::Paused,
        Event::Unpaused,
        Event::Exited(exit(1)),
        Event::BackoffElapsed,
        Event::Remove { force: true },
    ];
    fn walk(lifecycle: &Lifecycle, alive: u8, depth: u8, events: &[Event]) {
        if depth == 0 {
            return;
        }
        for event in events {
            let possible = match event {
                Event::StartSucceeded(_) | Event::StartFailed(_) => {
                    matches!(lifecycle.state, State::Starting { .. })
                }
                Event::Exited(_) => lifecycle.run().is_some(),
                _ => true,
            };
            if !possible {
                continue;
            }
            let Ok((next, effects)) = lifecycle.step(event.clone()) else { continue };
            let ended = matches!(event, Event::Exited(_) | Event::StartFailed(_)) as u8;
            let launched = effects.iter().filter(|effect| **effect == Effect::Launch).count() as u8;
            let alive = alive - ended + launched;
            assert!(alive <= 1, "{lifecycle:?} {event:?} {effects:?}");
            let active = matches!(next.state, State::Starting { .. } | State::Running(_) | State::Paused(_));
            assert_eq!(active, alive == 1);
            walk(&next, alive, depth - 1, events);
        }
    }
    for policy in [RestartPolicy::No, RestartPolicy::Always, RestartPolicy::OnFailure { maximum_retries: 2 }]
    {
        for auto_remove in [false, true] {
            walk(&Lifecycle::new(policy, auto_remove), 0, 6, &events);
        }
    }
}

#[test]
fn a_paused_container_runs_and_is_left_alone_but_for_its_end() {
    let running = after(RestartPolicy::No, &[Event::Start, Event::StartSucceeded(run(1))]).0;
    assert_eq!(running.step(Event::Unpaused), Err(Refusal::NotPaused));
    let (paused, _) = running.step(Event::Paused).unwrap();
    assert_eq!(paused.run(), Some(run(1)));
    for (event, refusal) in [
        (Event::Paused, Refusal::Paused),
        (Event::Start, Refusal::Paused),
        (Event::Remove { force: false }, Refusal::Paused),
    ] {
        assert_eq!(paused.step(event.clone()), Err(refusal), "{event:?}");
    }
    assert_eq!(paused.step(Event::Unpaused).unwrap().0, running);
    assert!(paused.step(Event::StopRequested).unwrap().0.stopped_by_client);
    assert_eq!(paused.step(Event::Exited(exit(9))).unwrap().0.state, State::Exited(exit(9)));
    let ended = after(RestartPolicy::No, &[]).0;
    assert_eq!(ended.step(Event::Paused), Err(Refusal::NotRunning));
}

#[test]
fn health_begins_anew_with_each_run_and_ends_with_it() {
    let mut created = Lifecycle::new(RestartPolicy::No, false);
    created.health = Some(Health::default());
    let (starting, _) = created.step(Event::Start).unwrap();
    let (running, _) = starting.step(Event::StartSucceeded(run(1))).unwrap();
    assert_eq!(running.health.as_ref().unwrap().status, Status::Starting);
    let (paused, _) = running.step(Event::Paused).unwrap();
    assert_eq!(paused.health.as_ref().unwrap().status, Status::Unhealthy);
    let (ended, _) = running.step(Event::Exited(exit(0))).unwrap();
    assert_eq!(ended.health.as_ref().unwrap().status, Status::Unhealthy);
}
