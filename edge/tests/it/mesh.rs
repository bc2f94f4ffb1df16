//! Nodes on one mesh, over real connections.

use std::{
    net::TcpListener,
    path::Path,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use gpak_edge::{
    body::hal::Stamp,
    mesh::{MeshConfig, Node, Warning, secret, wire::HazardSaid},
    reflex::{clock, verdict::HazardKind},
};

/// Long enough for any machine.
const LONG: Duration = Duration::from_secs(60);

fn config(folder: &Path, name: &str, listen: &[u16], connect: &[u16]) -> MeshConfig {
    let places = |ports: &[u16]| {
        let ports = ports.iter();
        ports.map(|port| format!("tcp/127.0.0.1:{port}")).collect()
    };
    MeshConfig {
        name: name.to_owned(),
        key: folder.join(name),
        trusted: ["hears", "warns"]
            .map(|name| secret(&folder.join(name)).unwrap().public())
            .into(),
        listen: places(listen),
        connect: places(connect),
        warn_radius_m: 1.5,
    }
}

/// Joins, and warns of a cliff for a minute.
fn warns(config: &MeshConfig, x_m: f32) -> Node {
    let node = Node::join(config, Box::new(|_, _| {})).unwrap();
    node.warn(Warning {
        hazard: HazardSaid {
            kind: HazardKind::Cliff,
            stop: true,
            x_m,
            y_m: 0.0,
            radius_m: 1.0,
            ttl_ms: 1500,
        },
        until: Stamp(clock::now().0 + 60_000_000_000),
    });
    node
}

/// Waits until a danger there is heard of.
fn hears_of(heard: &Receiver<f32>, wanted: f32) {
    while heard.recv_timeout(LONG).expect("nothing was heard") != wanted {}
}

#[test]
fn a_peer_that_starts_late_or_again_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let (tell, heard) = channel();
    let hears = config(folder.path(), "hears", &[], &[port]);
    let _hears = Node::join(
        &hears,
        Box::new(move |_, new| {
            if let Some((_, hazard)) = new {
                let _ = tell.send(hazard.x_m);
            }
        }),
    )
    .unwrap();
    // Nobody listened there until now.
    let peer = config(folder.path(), "warns", &[port], &[]);
    let first = warns(&peer, 1.0);
    hears_of(&heard, 1.0);
    drop(first);
    let _second = warns(&peer, 2.0);
    hears_of(&heard, 2.0);
}
