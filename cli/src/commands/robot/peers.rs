//! The robot's peers: the mesh, as the command line sees it.

use std::{
    path::Path,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use gpak_edge::{
    body::{driver::Sense, telemetry::Telemetry},
    mesh::{MeshConfig, MeshError, Node, secret},
    reflex::{
        clock,
        shm::{Board, Hazards},
    },
};
use serde_json::json;

use crate::{
    commands::print_json,
    failure::{DONE, Failure},
};

impl From<MeshError> for Failure {
    fn from(why: MeshError) -> Self {
        let failure = Self::new(why.to_string());
        match why {
            MeshError::Syntax { .. } => failure.help(
                "it needs `name`, `key` (a file) and `trusted` (public keys; gpak robot key FILE prints one)",
            ),
            _ => failure,
        }
    }
}

/// Joins the mesh. What peers warn of is on the board before anybody else hears of it.
pub fn join(
    file: &Path,
    board: &Board,
    senses: SyncSender<Sense>,
) -> Result<(Arc<Node>, f32), Failure> {
    let config = MeshConfig::read(file)?;
    let writer = board.hazards_writer();
    let mut writer = writer.map_err(|why| Failure::new(why.to_string()))?;
    let node = Node::join(
        &config,
        Box::new(move |all, new| {
            writer.write(&Hazards::new(all));
            if let Some((peer, hazard)) = new {
                let (peer, what) = (peer.to_owned(), hazard.kind.name().to_owned());
                // A mind that does not listen misses the word; the reflexes do not.
                let _ = senses.try_send(Sense::Warned { peer, what });
            }
        }),
    )?;
    Ok((Arc::new(node), config.warn_radius_m))
}

/// `gpak robot peers`
pub async fn peers(file: &Path, listen_s: f32, json: bool) -> Result<u8, Failure> {
    let config = MeshConfig::read(file)?;
    let joined = tokio::task::spawn_blocking(move || Node::join(&config, Box::new(|_, _| {})));
    let node = joined
        .await
        .map_err(|why| Failure::new(why.to_string()))??;
    tokio::time::sleep(Duration::from_secs_f32(listen_s.clamp(0.1, 600.0))).await;
    let now = clock::now();
    for peer in node.peers() {
        let name = peer.called();
        let age = peer.heard.map(|heard| heard.age(now).as_secs_f32());
        let hazards = peer.holding(now);
        let refused: u64 = peer.refused.values().sum();
        if json {
            print_json(&json!({
                "peer": name, "key": peer.key, "heard_s_ago": age, "presence": peer.presence,
                "telemetry": peer.telemetry.as_ref().map(|(_, telemetry)| telemetry),
                "telemetry_s_ago": peer.telemetry.as_ref().map(|(at, _)| at.age(now).as_secs_f32()),
                "hazards": hazards, "refused": refused,
            }));
            continue;
        }
        let heard = age.map_or("not heard".to_owned(), |age| {
            format!("heard {age:.1} s ago")
        });
        let presence = peer.presence.map_or(String::new(), |presence| {
            let at = presence.pose.map_or(String::new(), |pose| {
                format!(" at ({:.1}, {:.1})", pose.x_m, pose.y_m)
            });
            format!(", {}{at}", presence.mode)
        });
        say!("{name:12} {heard}{presence}, {hazards} hazards, {refused} messages refused");
        if let Some((at, telemetry)) = &peer.telemetry {
            say!("{:12} {}", "", measured(telemetry, at.age(now)));
        }
    }
    let strangers = node.strangers();
    if strangers > 0 && !json {
        say!("{strangers} messages of strangers");
    }
    tokio::task::spawn_blocking(move || drop(node)).await.ok();
    Ok(DONE)
}

fn measured(telemetry: &Telemetry, age: Duration) -> String {
    let twist = telemetry.odometry.unwrap_or_default().twist;
    let near = telemetry.nearest_m.map_or(String::new(), |near| {
        format!(", nearest thing {near:.1} m away")
    });
    let battery = telemetry.battery.map_or(String::new(), |charge| {
        format!(", battery {:.0} %", charge * 100.0)
    });
    let held = match telemetry.causes.as_slice() {
        [] => "held by nothing".to_owned(),
        causes => format!("held by {}", causes.join(", ")),
    };
    format!(
        "{:.2} m/s{near}{battery}, {held} ({:.1} s ago)",
        twist.linear_mps,
        age.as_secs_f32()
    )
}

/// `gpak robot key`
pub fn key(file: &Path, json: bool) -> Result<u8, Failure> {
    let key = secret(file)?.public();
    match json {
        true => print_json(&json!({"key": key})),
        false => say!("{key}"),
    }
    Ok(DONE)
}
