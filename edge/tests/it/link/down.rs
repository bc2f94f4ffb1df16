//! Identity, commands and stops come down.

use std::time::Duration;

use futures::StreamExt;
use gpak_edge::link::{
    client::{self, Asking, Follower, LinkError, State},
    server::Link,
};
use gpak_kernel::model::{
    Deltas, Message, Model, ModelError, ModelProfile, Reply, Request, ToolCall,
};
use gpak_memory::IdentityStore;
use gpak_proto::v1::{self, agent_control_client::AgentControlClient, cloud_command::Command};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bed::{Bed, asking, id, learn, node, secret, serve};

async fn until(state: &mut watch::Receiver<State>, is: impl FnMut(&State) -> bool) -> State {
    let state = tokio::time::timeout(Duration::from_secs(60), state.wait_for(is)).await;
    state.expect("it came").unwrap().clone()
}

#[tokio::test]
async fn a_node_with_its_certificate_is_told_who_it_is_and_is_so_without_a_network() {
    let bed = Bed::new(true);
    let served = serve(bed.link.routes(), Some(bed.papers().server()), None);
    let dir = tempfile::tempdir().unwrap();
    let store = IdentityStore::new(dir.path());
    let papers = bed.authority().node(&id("scout-1")).unwrap();
    let asking = Asking {
        core: format!("https://localhost:{}", served.address.port()),
        tls: Some(papers.client()),
        ..asking(served.address)
    };
    let follower = Follower::new(store.clone(), asking.clone()).unwrap();
    let told = follower.wake().await.unwrap();
    assert_eq!(told.version, 1);
    for said in [
        "You are Ada.",
        "Never open the vault.",
        "Keep the greenhouse warm.",
    ] {
        assert!(told.text.contains(said), "{}", told.text);
    }
    assert_eq!(bed.link.seen()[&id("scout-1")].version, Some(1));

    drop((follower, served));
    let offline = Follower::new(store.clone(), asking.clone()).unwrap();
    assert_eq!(offline.state().borrow().told, Some(told.clone()));
    let why = offline.wake().await.unwrap_err();
    assert!(matches!(why, LinkError::Unreachable { .. }), "{why}");
    let state = offline.state().borrow().clone();
    assert_eq!(state.told.as_ref(), Some(&told));
    assert!(state.to_string().contains("as it is stored"), "{state}");

    // Without the prompt that the core signed, one is made of the versions that it signed.
    std::fs::remove_file(store.prompt_file()).unwrap();
    assert_eq!(client::stored(&store, asking.window).unwrap(), Some(told));
}

#[tokio::test]
async fn the_certificate_of_one_node_is_not_good_for_another_and_none_is_good_for_nobody() {
    let bed = Bed::new(true);
    let served = serve(bed.link.routes(), Some(bed.papers().server()), None);
    let dir = tempfile::tempdir().unwrap();
    let papers = bed.authority().node(&id("scout-2")).unwrap();
    let core = format!("https://localhost:{}", served.address.port());
    let mut asking = Asking {
        core,
        tls: Some(papers.client()),
        ..asking(served.address)
    };
    let store = IdentityStore::new(dir.path());
    let follower = Follower::new(store.clone(), asking.clone()).unwrap();
    let why = follower.wake().await.unwrap_err().to_string();
    assert!(why.contains("not for the node scout-1"), "{why}");
    assert!(why.contains("gpak core enrol scout-1"), "{why}");

    let other = Bed::new(true);
    let papers = other.authority().node(&id("scout-1")).unwrap();
    asking.tls = Some(papers.client());
    let follower = Follower::new(store.clone(), asking).unwrap();
    let why = follower.wake().await.unwrap_err();
    assert!(matches!(why, LinkError::Unreachable { .. }), "{why}");
    assert!(store.trusted().unwrap().is_none());
}

#[tokio::test]
async fn a_change_reaches_a_node_that_follows_also_after_the_core_was_away() {
    let bed = Bed::new(false);
    let served = serve(bed.link.routes(), None, None);
    let address = served.address;
    let dir = tempfile::tempdir().unwrap();
    let store = IdentityStore::new(dir.path());
    let follower = Follower::new(store.clone(), asking(address)).unwrap();
    let mut state = follower.state();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let following = tokio::spawn(async move { follower.follow(stop).await });
    let version = |version| {
        move |state: &State| {
            state.connected
                && state
                    .told
                    .as_ref()
                    .is_some_and(|told| told.version == version)
        }
    };
    until(&mut state, version(1)).await;
    learn(&bed.store, "The boiler is in the cellar.");
    let told = until(&mut state, version(2)).await.told.unwrap();
    assert!(told.text.contains("The boiler is in the cellar."));

    drop(served);
    let gone = until(&mut state, |state| !state.connected).await;
    assert!(gone.to_string().contains("as the core had it"), "{gone}");
    learn(&bed.store, "The key hangs at the door.");
    let _again = serve(bed.link.routes(), None, Some(address));
    let told = until(&mut state, version(3)).await.told.unwrap();
    assert!(told.text.contains("The key hangs at the door."));
    assert_eq!(
        store.history().unwrap().unwrap().hash(),
        bed.store.history().unwrap().unwrap().hash()
    );
    cancel.cancel();
    following.await.unwrap();
}

/// Says in one line what it is shown, once it is let to.
struct Shortener {
    profile: ModelProfile,
    may: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Model for Shortener {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, request: &Request, _: &mut dyn Deltas) -> Result<Reply, ModelError> {
        self.may.clone().wait_for(|may| *may).await.unwrap();
        let Some(Message::User { text, .. }) = request.messages.last() else {
            panic!("{:?}", request.messages);
        };
        let places = text.lines().filter_map(|line| line.split_once(": <<<"));
        let places: Vec<usize> = places.map(|(place, _)| place.parse().unwrap()).collect();
        let (name, args) = match text.starts_with("The constitution") {
            true => ("keeps", json!({})),
            false => (
                "say",
                json!({"text": "All beds want water daily.", "sentences": places}),
            ),
        };
        let name = name.to_owned();
        Ok(Reply {
            calls: vec![ToolCall { name, args }],
            ..Reply::default()
        })
    }
}

#[tokio::test]
async fn a_node_wakes_at_once_and_is_told_in_fewer_words_what_does_not_fit_once_the_core_has_them()
{
    let bed = Bed::new(false);
    for name in [
        "north", "south", "east", "west", "long", "wide", "old", "new",
    ] {
        learn(
            &bed.store,
            &format!("The {name} bed is dry in the evening and wants to be watered each day."),
        );
    }
    let (let_it, may) = watch::channel(false);
    let model = Shortener {
        profile: ModelProfile {
            provider: "test".into(),
            name: "shortener".into(),
            window: 4096,
            native_tools: true,
            local: true,
            price: None,
        },
        may,
    };
    let served = serve(bed.link.routes(), None, None);
    let dir = tempfile::tempdir().unwrap();
    let asking = Asking {
        window: 1024,
        ..asking(served.address)
    };
    let follower = Follower::new(IdentityStore::new(dir.path()), asking).unwrap();
    let mut state = follower.state();
    let cancel = CancellationToken::new();
    let (follow, condense) = (cancel.clone(), cancel.clone());
    let link = bed.link.clone();
    let following = tokio::spawn(async move { follower.follow(follow).await });
    let condensing = tokio::spawn(async move { link.condense(&model, &condense).await });
    let line = "- All beds want water daily.";
    let first = until(&mut state, |state| state.told.is_some())
        .await
        .told
        .unwrap();
    assert!(
        first.text.contains("bed is dry") && !first.text.contains(line),
        "{}",
        first.text
    );
    let_it.send_replace(true);
    let is_new = |state: &State| {
        state
            .told
            .as_ref()
            .is_some_and(|told| told.text.contains(line))
    };
    let told = until(&mut state, is_new).await.told.unwrap();
    assert_eq!((first.version, told.version), (9, 9));
    assert!(told.text.contains("Never open the vault."), "{}", told.text);

    // The next version is told in fewer words, too.
    learn(
        &bed.store,
        "The tank in the yard is full, and nobody has to look after it for a long while.",
    );
    bed.link.look();
    let told = until(&mut state, |state| {
        is_new(state) && state.told.as_ref().is_some_and(|told| told.version == 10)
    });
    assert!(told.await.connected);
    cancel.cancel();
    following.await.unwrap();
    condensing.await.unwrap();
}

#[tokio::test]
async fn of_two_nodes_with_one_name_the_second_is_told_what_to_do() {
    let bed = Bed::new(false);
    let served = serve(bed.link.routes(), None, None);
    let first = tempfile::tempdir().unwrap();
    let first = Follower::new(IdentityStore::new(first.path()), asking(served.address)).unwrap();
    first.wake().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let asking = Asking {
        node: node("scout-1", 2),
        ..asking(served.address)
    };
    let second = Follower::new(IdentityStore::new(dir.path()), asking).unwrap();
    let why = second.wake().await.unwrap_err().to_string();
    assert!(why.contains("another node is called scout-1"), "{why}");
    assert!(why.contains("gpak core forget scout-1"), "{why}");
}

#[tokio::test]
async fn nobody_is_believed_where_no_key_was_given_or_another_one() {
    let bed = Bed::new(false);
    let served = serve(bed.link.routes(), None, None);
    let dir = tempfile::tempdir().unwrap();
    let store = IdentityStore::new(dir.path());
    let mut asking = asking(served.address);
    asking.key = None;
    let follower = Follower::new(store.clone(), asking.clone()).unwrap();
    let why = follower.wake().await.unwrap_err();
    assert!(matches!(why, LinkError::NoKey), "{why}");
    asking.key = Some(gpak_kernel::identity::SecretKey::from_bytes(&[8; 32]).public());
    let follower = Follower::new(store.clone(), asking).unwrap();
    let why = follower.wake().await.unwrap_err().to_string();
    assert!(why.contains("is foreign"), "{why}");
    assert!(store.trusted().unwrap().is_none());
    assert_ne!(secret().public().to_string(), "");
}

fn telemetry(reports: Vec<v1::CommandReport>) -> v1::AgentTelemetry {
    v1::AgentTelemetry {
        node: Some(node("scout-1", 1)),
        identity_version: 1,
        reports,
        ..v1::AgentTelemetry::default()
    }
}

async fn line(
    served: &super::bed::Served,
    reports: Vec<v1::CommandReport>,
) -> tonic::Streaming<v1::CloudCommand> {
    let channel = client::channel(&format!("http://{}", served.address), None)
        .await
        .unwrap();
    let said = futures::stream::iter([telemetry(reports)]).chain(futures::stream::pending());
    let line = AgentControlClient::new(channel).link_stream(said).await;
    line.unwrap().into_inner()
}

fn mission(link: &Link, task: &str) -> String {
    let command = Command::Mission(v1::Mission { task: task.into() });
    link.command(&id("scout-1"), Duration::from_secs(60), command)
        .unwrap()
}

#[tokio::test]
async fn a_command_comes_until_it_is_reported_on_and_too_many_are_refused() {
    let bed = Bed::new(false);
    let served = serve(bed.link.routes(), None, None);
    let first = mission(&bed.link, "look at the boiler");
    let mut commands = line(&served, vec![]).await;
    assert_eq!(commands.message().await.unwrap().unwrap().id, first);
    let second = mission(&bed.link, "look at the door");
    let next = commands.message().await.unwrap().unwrap();
    assert_eq!((next.id.as_str(), next.sequence), (second.as_str(), 2));
    drop(commands);
    let report = v1::CommandReport {
        command: first,
        outcome: v1::command_report::Outcome::Done.into(),
        note: String::new(),
    };
    let mut commands = line(&served, vec![report]).await;
    assert_eq!(commands.message().await.unwrap().unwrap().id, second);
    for _ in 1..64 {
        mission(&bed.link, "x");
    }
    let command = Command::Cancel(v1::CancelRun::default());
    let why = bed
        .link
        .command(&id("scout-1"), Duration::ZERO, command)
        .unwrap_err();
    assert!(why.to_string().contains("64 commands wait"), "{why}");
}

#[tokio::test]
async fn the_standing_order_to_stop_comes_first_and_its_end_behind_it() {
    let bed = Bed::new(false);
    let served = serve(bed.link.routes(), None, None);
    bed.link.order_stop(true, "smoke");
    let channel = client::channel(&format!("http://{}", served.address), None)
        .await
        .unwrap();
    let mut client = AgentControlClient::new(channel);
    let orders = client.emergency_stops(node("scout-1", 1)).await.unwrap();
    let mut orders = orders.into_inner();
    let order = orders.message().await.unwrap().unwrap();
    assert_eq!(
        (order.epoch, order.stop, order.reason.as_str()),
        (1, true, "smoke")
    );
    bed.link.order_stop(false, "");
    let order = orders.message().await.unwrap().unwrap();
    assert_eq!((order.epoch, order.stop), (2, false));
}
