//! The contract, as a client in another language reads it: stubs that grpcio-tools makes of our files.

use std::{fs, path::Path, process::Command};

use gpak_edge::link::wire;
use gpak_kernel::{
    label::Label,
    memory::{Episode, Record, Vector},
};
use gpak_proto::v1::{self, cloud_command};
use jiff::Timestamp;
use prost::Message;

use super::bed::{Bed, id, node, run, serve, venv};

const SCRIPT: &str = r#"
import json, queue, sys
import grpc
from gpak.v1 import control_pb2, control_pb2_grpc, experience_pb2, identity_pb2, identity_pb2_grpc

address, batch_file = sys.argv[1:]
node = identity_pb2.Node(id="scout-1", instance=bytes([1] * 16))
channel = grpc.insecure_channel(address)

identity = identity_pb2_grpc.IdentityStub(channel)
asked = identity_pb2.WakeRequest(node=node, window=4096)
injection = identity.Wake(asked, timeout=30)
version = json.loads(injection.versions[0])
prompt = json.loads(injection.prompt)["statement"]
assert version["header"]["version"] == 1 and prompt["version"] == 1
assert prompt["text"].startswith("You are Ada."), prompt
assert injection.clock.seconds > 1_600_000_000
identity.Acknowledge(identity_pb2.Acknowledgement(node=node, version=1), timeout=30)
updates = identity.Watch(asked, timeout=30)
assert next(updates).WhichOneof("said") == "injection"
assert next(updates).beat.latest == 1
updates.cancel()

control = control_pb2_grpc.AgentControlStub(channel)
said = queue.SimpleQueue()
said.put(control_pb2.AgentTelemetry(node=node, sequence=1, mode=control_pb2.MODE_WORKING, battery=0.5,
    pose=control_pb2.Pose(x_m=1.5, yaw_rad=-0.25), identity_version=1, outbox=3))
commands = control.LinkStream(iter(said.get, None), timeout=30)
command = next(commands)
assert command.mission.task == "look at the boiler" and command.valid_for_s == 60, command
said.put(control_pb2.AgentTelemetry(node=node, sequence=2, reports=[control_pb2.CommandReport(
    command=command.id, outcome=control_pb2.CommandReport.OUTCOME_DONE)]))
said.put(None)
order = next(control.EmergencyStops(node, timeout=30))
assert order.epoch == 1 and order.stop and order.reason == "smoke", order

try:
    identity.Wake(identity_pb2.WakeRequest(node=identity_pb2.Node(id="A B"), window=1), timeout=30)
    raise SystemExit("a name that is none was taken")
except grpc.RpcError as why:
    assert why.code() == grpc.StatusCode.INVALID_ARGUMENT, why

with open(batch_file, "rb") as file:
    packed = file.read()
batch = experience_pb2.ExperienceBatch.FromString(packed)
[experience] = batch.experiences
assert json.loads(experience.episode)["text"] == "the boiler leaks"
assert experience.embedding.values == bytes([255, 1])
assert batch.SerializeToString(deterministic=True) == packed
print("exchanged")
"#;

#[tokio::test]
async fn stubs_that_python_makes_of_our_files_exchange_messages_with_our_server() {
    let bed = Bed::new(false);
    let served = serve(bed.link.routes(), None, None);
    bed.link.order_stop(true, "smoke");
    let mission = v1::Mission {
        task: "look at the boiler".into(),
    };
    let command = cloud_command::Command::Mission(mission);
    let minute = std::time::Duration::from_secs(60);
    bed.link.command(&id("scout-1"), minute, command).unwrap();

    let dir = bed.dir.path().to_owned();
    let batch = dir.join("batch");
    fs::write(&batch, sample().encode_to_vec()).unwrap();
    let address = served.address.to_string();
    let said = tokio::task::spawn_blocking(move || talk(&dir, &address, &batch)).await;
    assert_eq!(said.unwrap().trim(), "exchanged");

    let seen = bed.link.seen().remove(&id("scout-1")).unwrap();
    assert_eq!(seen.version, Some(0));
    let (last, _) = seen.telemetry.unwrap();
    assert_eq!(last.sequence, 2);
    assert_eq!(last.reports.len(), 1);
}

fn sample() -> v1::ExperienceBatch {
    let episode = Episode::new("the boiler leaks", Label::Own, Timestamp::UNIX_EPOCH);
    let record = Record {
        place: 0,
        id: episode.id(),
        episode,
        uses: 0,
        vector: Some(Vector {
            embedder: "e".into(),
            values: vec![-1, 1],
        }),
    };
    let experiences = vec![wire::experience(&record)];
    wire::batch(node("scout-1", 1), experiences, Timestamp::UNIX_EPOCH)
}

fn talk(dir: &Path, address: &str, batch: &Path) -> String {
    let python = venv("grpcio", &["grpcio-tools==1.85.1"]).join("python");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto");
    let mut make = Command::new(&python);
    make.args(["-m", "grpc_tools.protoc", "-I"]).arg(&protos);
    make.arg(format!("--python_out={}", dir.display()));
    make.arg(format!("--grpc_python_out={}", dir.display()));
    for name in ["identity", "control", "experience"] {
        make.arg(protos.join(format!("gpak/v1/{name}.proto")));
    }
    run(&mut make);
    let script = dir.join("talk.py");
    fs::write(&script, SCRIPT).unwrap();
    run(Command::new(&python).arg(script).arg(address).arg(batch))
}
