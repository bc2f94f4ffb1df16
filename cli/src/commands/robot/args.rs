//! What `gpak robot` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::Bounds;

/// `gpak robot`
#[derive(Debug, Subcommand)]
pub enum RobotCommand {
    /// Do a task with the robot that a file describes: simulated, over ROS 2 or over MAVLink
    Run(Box<RunArgs>),
    /// Do a task with a robot in a simulated world
    Sim(Box<SimArgs>),
    /// Say how the robot of this user is that lives now
    Status,
    /// Press the e-stop of the robot that lives now: it stands until a person releases it
    Stop,
    /// Release the e-stop: of the robot that lives now, or of one that is to be started
    Release(ReleaseArgs),
    /// Say which peers are on the mesh, what they measure, and what they warn of
    Peers {
        /// The file that says who this node is and whom it trusts
        #[arg(long, value_name = "FILE")]
        mesh: PathBuf,
        /// How long to listen
        #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
        listen: f32,
    },
    /// Print the public key of a secret key's file, which is made if it is not there
    Key {
        /// The file
        file: PathBuf,
    },
    /// Make the arbiter's decisions of a recording again, and compare them hash for hash
    Replay {
        /// The recording, an MCAP file
        file: PathBuf,
    },
}

/// `gpak robot release`
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Why it may move again; it is written down
    #[arg(long, value_name = "TEXT", required = true)]
    pub reason: String,

    /// Do not ask: I have looked at the robot, and nobody is in its way
    #[arg(short, long)]
    pub yes: bool,

    /// The file of a robot that does not live now
    #[arg(long, value_name = "FILE")]
    pub robot: Option<PathBuf>,
}

/// What a robot is to do, and how that is shown.
#[derive(Debug, Args)]
pub struct MissionArgs {
    /// The task, in your words
    #[arg(
        value_name = "TASK",
        required_unless_present = "tree",
        conflicts_with = "tree"
    )]
    pub task: Vec<String>,

    /// Do what a behaviour tree says, as in examples/robots/patrol.tree.toml, without a mind
    #[arg(long, value_name = "FILE")]
    pub tree: Option<PathBuf>,

    /// Join the mesh that this file describes: warn peers of cliffs, and heed their warnings
    #[arg(long, value_name = "FILE")]
    pub mesh: Option<PathBuf>,

    /// Draw a frame of the simulated world twice a second: PNG files in this folder, and an animated view in a
    /// terminal
    #[arg(long, value_name = "DIR")]
    pub render: Option<PathBuf>,

    /// Where the recording, the picture of the path and the log go [default: among gpak's data]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// The model, as `provider/name` or `embedded//path/to/file.gguf`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub bounds: Bounds,
}

/// `gpak robot run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The robot, a TOML file as examples/robots/ros2.robot.toml
    #[arg(long, value_name = "FILE", default_value = "robot.toml")]
    pub robot: PathBuf,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub mission: MissionArgs,
}

/// `gpak robot sim`
#[derive(Debug, Args)]
pub struct SimArgs {
    /// The world, a TOML file as in examples/robots
    #[arg(long, value_name = "FILE")]
    pub world: PathBuf,

    /// Of what is random in the world [default: the world's own]
    #[arg(long)]
    pub seed: Option<u64>,

    /// How many of the world's seconds pass in one
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub speed: f32,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub mission: MissionArgs,
}
