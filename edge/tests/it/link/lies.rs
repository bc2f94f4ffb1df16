//! A core that lies, or makes no sense: nothing of it is taken, and the node stays who it was.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::Stream;
use gpak_edge::link::{
    client::{Follower, LinkError},
    wire,
};
use gpak_kernel::identity::{Edit, History, Prompt, Refusal, SecretKey};
use gpak_kernel::label::Label;
use gpak_memory::IdentityStore;
use gpak_proto::v1::{
    self,
    identity_server::{Identity, IdentityServer},
};
use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response, Status, service::Routes};

use super::bed::{asking, found, founding, learn, secret, serve};

/// Says what it was told to.
#[derive(Clone, Default)]
struct Liar {
    says: v1::Injection,
    heard: Arc<Mutex<Vec<v1::Acknowledgement>>>,
}

#[tonic::async_trait]
impl Identity for Liar {
    async fn wake(&self, _: Request<v1::WakeRequest>) -> Result<Response<v1::Injection>, Status> {
        Ok(Response::new(self.says.clone()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Update, Status>> + Send>>;

    async fn watch(
        &self,
        _: Request<v1::WakeRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn acknowledge(
        &self,
        said: Request<v1::Acknowledgement>,
    ) -> Result<Response<v1::Acknowledged>, Status> {
        self.heard.lock().unwrap().push(said.into_inner());
        Ok(Response::new(v1::Acknowledged {}))
    }
}

/// What a node with two versions makes of an injection, and what the core hears of it.
async fn told(says: v1::Injection) -> (Result<u64, LinkError>, String) {
    let (woken, refused, _) = told_and_stands(says).await;
    (woken, refused)
}

/// Likewise, and how the link stands then.
async fn told_and_stands(says: v1::Injection) -> (Result<u64, LinkError>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let before = store.history().unwrap().unwrap().hash();
    let liar = Liar {
        says,
        ..Liar::default()
    };
    let served = serve(Routes::new(IdentityServer::new(liar.clone())), None, None);
    let follower = Follower::new(store.clone(), asking(served.address)).unwrap();
    let woken = follower.wake().await;
    if woken.is_err() {
        assert_eq!(store.history().unwrap().unwrap().hash(), before);
        assert_eq!(follower.state().borrow().told.as_ref().unwrap().version, 2);
    }
    let heard = liar.heard.lock().unwrap();
    let refused = heard.first().map(|said| said.refused.clone());
    let stands = follower.state().borrow().to_string();
    (
        woken.map(|told| told.version),
        refused.unwrap_or_default(),
        stands,
    )
}

fn node(dir: &std::path::Path) -> IdentityStore {
    let store = found(dir);
    learn(&store, "The boiler is in the cellar.");
    store
}

/// What an honest core would say of the third version.
fn honest() -> (History, v1::Injection) {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let history = learn(&store, "The key hangs at the door.");
    let says = injection(&history, &secret(), 2);
    (history, says)
}

fn injection(history: &History, secret: &SecretKey, have: u64) -> v1::Injection {
    let prompt = Prompt::sign(secret, history, 4096).unwrap();
    wire::injection(history, &prompt, have, Timestamp::now())
}

fn changed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

#[tokio::test]
async fn what_an_honest_core_says_is_taken_whatever_its_clock_says() {
    let (_, mut says) = honest();
    let days = SignedDuration::from_hours(72);
    let clock = Timestamp::now().checked_add(days).unwrap();
    says.clock = Some(wire::stamp(clock));
    let (woken, refused, stands) = told_and_stands(says).await;
    assert_eq!((woken.unwrap(), refused.as_str()), (3, ""));
    assert!(stands.contains("ahead of this machine's"), "{stands}");
    let ahead = wire::ahead(Some(wire::stamp(clock)), Timestamp::now()).unwrap();
    let skew = wire::skew(ahead).unwrap();
    assert!(skew.contains("ahead of this machine's"), "{skew}");
    let garbage = prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: -7,
    };
    assert_eq!(wire::ahead(Some(garbage), Timestamp::now()), None);
}

#[tokio::test]
async fn a_version_or_a_prompt_that_was_changed_is_named_and_refused() {
    let (_, honest) = honest();
    let mut says = honest.clone();
    says.versions[0] = changed(&says.versions[0], "The key hangs", "The cat hangs");
    let (woken, refused) = told(says).await;
    let why = woken.unwrap_err();
    assert!(
        matches!(
            why,
            LinkError::Refused(Refusal::Tampered { version: 3, .. })
        ),
        "{why}"
    );
    assert_eq!(refused, why.to_string());

    let mut says = honest;
    says.prompt = changed(
        &says.prompt,
        "Never open the vault.",
        "Always open the vault.",
    );
    let why = told(says).await.0.unwrap_err().to_string();
    assert!(
        why.contains("the prompt that was made from it was changed"),
        "{why}"
    );
}

#[tokio::test]
async fn a_forged_signature_is_not_believed() {
    let other = SecretKey::from_bytes(&[9; 32]);
    let mut history = History::found(&other, founding(), Timestamp::UNIX_EPOCH).unwrap();
    for text in ["a", "b"] {
        let id = history.next_item();
        let edit = Edit::Add {
            id,
            text: text.into(),
            evidence: vec![],
            label: Label::User,
        };
        let version = history.sign(&other, Label::User, "", Timestamp::UNIX_EPOCH, vec![edit]);
        history.take(version.unwrap()).unwrap();
    }
    let why = told(injection(&history, &other, 2)).await.0.unwrap_err();
    assert!(
        matches!(why, LinkError::Refused(Refusal::Foreign { .. })),
        "{why}"
    );
}

#[tokio::test]
async fn a_replay_and_a_downgrade_are_refused() {
    let (history, _) = honest();
    // The versions from the second on, for who has two.
    let says = injection(&history, &secret(), 1);
    let why = told(says).await.0.unwrap_err();
    assert!(matches!(why, LinkError::Refused(_)), "{why}");

    let dir = tempfile::tempdir().unwrap();
    let first = found(dir.path()).history().unwrap().unwrap();
    let why = told(injection(&first, &secret(), 1)).await.0.unwrap_err();
    let downgraded = Refusal::Downgraded {
        version: 1,
        have: 2,
    };
    assert!(
        matches!(&why, LinkError::Refused(refusal) if *refusal == downgraded),
        "{why}"
    );
}

#[tokio::test]
async fn garbage_is_no_identity() {
    let (_, honest) = honest();
    let garbage = v1::Injection {
        versions: vec![b"\xff\xfe{".to_vec()],
        ..honest.clone()
    };
    let why = told(garbage).await.0.unwrap_err();
    assert!(
        matches!(
            why,
            LinkError::Refused(Refusal::Unreadable { version: 3, .. })
        ),
        "{why}"
    );
    let garbage = v1::Injection {
        prompt: vec![0; 1000],
        ..honest.clone()
    };
    let why = told(garbage).await.0.unwrap_err();
    assert!(matches!(why, LinkError::Garbage(_)), "{why}");
    // A true prompt of a version that is not sent along.
    let short = v1::Injection {
        versions: vec![],
        ..honest
    };
    let why = told(short).await.0.unwrap_err();
    assert!(matches!(why, LinkError::Unfit(_)), "{why}");
}
